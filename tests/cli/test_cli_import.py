"""`unrolled import`, `unrolled export`, and warnings in every command that uses a model."""

import json

import pytest

from tests.importers.elsewhere import Stacked, save_model, save_words, word_layout, words


@pytest.fixture
def folder(tmp_path):
    """A word model of 13 rows without its vocabulary."""
    save_model(tmp_path / "app", word_layout(Stacked(13)), "lotr_lstm_lm.pt")
    return tmp_path / "app"


def test_import_says_what_was_found_on_standard_output(cli, folder, tmp_path):
    save_words(folder, words(13))
    done = cli("import", folder, "--out", tmp_path / "run")
    assert done.status == 0
    assert "\nlayers      2 x 7\n" in done.out
    assert "\nvocabulary  13 from vocab.pkl\n" in done.out
    assert "Warning" not in done.err
    assert cli("generate", tmp_path / "run", "w3", "--seed", 1).status == 0


def test_a_warning_reaches_every_command_on_standard_error(cli, folder, tmp_path):
    run = tmp_path / "run"
    assert "Warning: There was no vocabulary" in cli("import", folder, "--out", run).err
    (tmp_path / "text.txt").write_text("a b\n")
    uses = [("generate", run, "--seed", 1, "--json"), ("score", run, tmp_path / "text.txt", "--json")]
    uses += [("evaluate", run, tmp_path / "text.txt", "--json"), ("generate", folder, "--seed", 1, "--json")]
    for use in uses:
        done = cli(*use)
        assert done.status == 0
        assert "Warning: There was no vocabulary" in done.err
        json.loads(done.out)
    assert "There was no vocabulary" in cli("info", run).out


def test_a_model_without_warnings_says_nothing(cli, run):
    assert "arning" not in cli("generate", run, "The", "--seed", 1).err
    assert "warnings" not in cli("info", run).out


@pytest.mark.parametrize("name", ["import", "export"])
def test_both_commands_explain_themselves(cli, name):
    done = cli(name, "--help")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"Usage: unrolled {name}")
    assert f"\n  {name} " in cli("--help").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("import", "{}/none.pt", "--out", "{}/run"), "There is no file"),
        (("import", "{}/app", "--vocab", "{}/none.pkl", "--out", "{}/run"), "There is no file"),
        (("import", "{}/app"), "Missing option '--out'"),
        (("import", "{}", "--out", "{}/run"), "holds no model"),
        (("import", "{}/app", "--out", "{}/app"), "choose another folder with --out"),
        (("export", "{}/app", "--to", "onnx", "--out", "x.pt"), "'onnx' is not 'torch'"),
        (("export", "{}/none", "--to", "torch", "--out", "x.pt"), "There is no run"),
        (("generate", "{}/app/lotr_lstm_lm.pt"), "unrolled import"),
        (("train", "--init-from", "{}/app"), "unrolled import"),
    ],
    ids=str,
)
def test_what_the_user_can_put_right_is_one_sentence(cli, folder, tmp_path, arguments, words):
    done = cli(*(argument.format(tmp_path) for argument in arguments))
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert words in done.err
    assert done.err.count("\n") == 1

"""`evaluate`, `score`, `generate`, `info`, `data`: results on standard output, everything else on standard error."""

import json
import re

import pytest

from tests.conftest import STORY
from tests.decoding.own_part import sharing_weights
from unrolled import load
from unrolled.decoding import explain_decoder
from unrolled.kernels import PrecisionChoice, explain_kernels, select, store_choice
from unrolled.native import native_library


def only_json(done):
    """Check that standard output is a single strict JSON object, and return it."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    assert done.status == 0, done.err
    value = json.loads(done.out, parse_constant=refuse)
    assert isinstance(value, dict)
    return value


def test_evaluate(cli, trained_once, story):
    figures = only_json(cli("evaluate", trained_once, story, "--json"))
    assert {"tokens", "nats_per_token", "perplexity", "bits_per_char", "bits_per_byte", "unknown_tokens"} <= set(
        figures
    )
    assert figures == load(trained_once).evaluate(story).to_json()
    assert only_json(cli("evaluate", trained_once, "-", "--json", stdin=story.read_bytes())) == figures
    plain = cli("evaluate", trained_once, story)
    assert f"{figures['bits_per_char']:.4f}" in plain.out
    assert plain.out.splitlines()[0].startswith("tokens")


def test_evaluate_says_which_characters_are_unknown_on_standard_error(cli, trained_once):
    done = cli("evaluate", trained_once, "-", "--json", stdin="On \u6f22\u6f22!".encode())
    assert only_json(done)["unknown_tokens"] == 3
    assert "\u6f22 (U+6F22)" in done.err


def test_score(cli, trained_once, story):
    scored = only_json(cli("score", trained_once, story, "--json"))
    measured = only_json(cli("evaluate", trained_once, story, "--json"))
    assert {key: value for key, value in scored.items() if key != "scores"} == measured
    assert len(scored["scores"]) == measured["tokens"] == len(STORY)
    assert set(scored["scores"][0]) == {"token", "surprisal_nats", "surprisal_bits"}
    plain = cli("score", trained_once, "-", stdin=b"On \n")
    assert len(plain.out.splitlines()) == 4
    assert plain.out.splitlines()[-1].endswith("'\\n'")
    assert "4 tokens" in plain.err


def test_a_prompt_that_begins_with_a_dash_is_explained_and_accepted_after_two(cli, trained_once):
    refused = cli("generate", trained_once, "- hello")
    assert (refused.status, refused.out) == (2, "")
    assert "Put -- before a prompt that begins with a dash." in refused.err
    assert cli("generate", trained_once, "--max-tokens", 3, "--", "- hello").out.startswith("- hello")


def test_generate(cli, trained_once):
    written = only_json(cli("generate", trained_once, "The fox", "--max-tokens", 20, "--n", 2, "--seed", 7, "--json"))
    assert written["seed"] == 7
    assert len(written["samples"]) == 2
    for sample in written["samples"]:
        assert {"text", "finish_reason", "tokens"} <= set(sample)
        assert (sample["finish_reason"], sample["tokens"], len(sample["text"])) == ("length", 20, 20)
    shown = cli("generate", trained_once, "The fox", "--max-tokens", 20, "--seed", 7)
    assert shown.out == "The fox" + written["samples"][0]["text"] + "\n"
    assert "seed 7" in shown.err
    both = cli("generate", trained_once, "The fox", "--max-tokens", 20, "--n", 2, "--seed", 7)
    assert all(sample["text"] in both.out for sample in written["samples"])


@pytest.mark.skipif(native_library() is None, reason="unrolled was installed without a C compiler")
def test_text_with_rounded_weights_is_announced_and_an_unknown_precision_refused(cli, run):
    done = cli("generate", run, "The", "--seed", 3, "--max-tokens", 50, "--decoding", "bfloat16")
    written = load(run, decoding="bfloat16").generate("The", seed=3, max_tokens=50).samples[0].text
    assert done.out == f"The{written}\n"
    assert "Decoding with bfloat16 weights" in done.err
    assert "Decoding with" not in cli("generate", run, "The", "--decoding", "float32").err
    refused = cli("generate", run, "The", "--decoding", "int4")
    assert (refused.status, refused.out) == (2, "")
    assert "'int4' is not one of 'float32', 'bfloat16'" in refused.err


def test_a_drawn_seed_is_reported_and_gives_the_text_again(cli, trained_once):
    first = only_json(cli("generate", trained_once, "--max-tokens", 30, "--json"))
    again = only_json(cli("generate", trained_once, "--max-tokens", 30, "--seed", first["seed"], "--json"))
    assert again == first


def test_several_samples_by_the_runs_own_settings_are_not_mixed(cli, run):
    values = json.loads((run / "config.json").read_text())
    values["sampling"].update(n=3, max_tokens=25)
    (run / "config.json").write_text(json.dumps(values))
    done = cli("generate", run, "The", "--seed", 3)
    for sample in load(run).generate("The", seed=3).samples:
        assert f"--- {sample.seed - 2} (seed {sample.seed})\nThe{sample.text}\n" in done.out


def test_a_prompt_from_standard_input_with_unknown_and_control_characters(cli, trained_once):
    done = cli("generate", trained_once, "-", "--max-tokens", 3, "--seed", 1, stdin="On \u6f22\x1b[2J".encode())
    assert done.status == 0
    assert "\x1b" not in done.out + done.err
    assert "the model does not know '\u6f22', '\\x1b'" in done.err
    assert "\x1b[2J" in cli("generate", trained_once, "On \x1b[2J", "--max-tokens", 3, "--raw").out
    bad = cli("generate", trained_once, "-", stdin=b"On \xff")
    assert (bad.status, bad.out) == (2, "")
    assert "not UTF-8 at byte 3" in bad.err


def test_impossible_numbers_are_all_in_one_message(cli, trained_once):
    done = cli(
        "generate", trained_once, "--temperature", "nan", "--top-p", 2, "--n", 0, "--max-tokens", -1, "--stop", ""
    )
    assert (done.status, done.out) == (2, "")
    for name in ("temperature", "top_p", "n", "max_tokens", "stop"):
        assert f"  - {name}" in done.err
    assert cli("generate", trained_once, "--seed", 10**30).status == 2


def test_info(cli, trained_once):
    info = only_json(cli("info", trained_once, "--json"))
    assert info == json.loads(json.dumps(load(trained_once).info()))
    assert {"vocabulary_size", "parameters", "steps", "weights_sha256", "valid_bits_per_char"} <= set(info)
    assert not {"device"} & set(info)
    assert "vocabulary size" in cli("info", trained_once).out


def test_info_names_the_decoder_and_why(cli, trained_once, monkeypatch):
    reason = explain_decoder(load(trained_once, device="cpu").network)
    assert re.search(rf"^decoder +{re.escape(reason)}$", cli("info", trained_once).out, re.MULTILINE)
    assert only_json(cli("info", trained_once, "--json"))["decoder"] == reason
    own = load(trained_once, device="cpu")
    own.network = sharing_weights(own.network)
    monkeypatch.setattr("unrolled.trained.load", lambda *arguments, **named: own)
    told = "torch: the model has parts that the fast decoders do not know: extra.weight"
    assert re.search(rf"^decoder +{told}$", cli("info", trained_once).out, re.MULTILINE)
    assert only_json(cli("info", trained_once, "--json"))["decoder"] == told


def test_info_without_a_run_describes_the_bundled_model_and_the_kernels_here(cli, trained_once):
    info = only_json(cli("info", "--json"))
    assert info.pop("kernels") == explain_kernels()
    info.pop("training_precision")
    assert info == json.loads(json.dumps(load(device="cpu").info()))
    store_choice("fused", "words")
    lines = cli("info").out.splitlines()
    assert any(re.fullmatch("kernel stored choice +fused, measured at the shape words", line) for line in lines)
    assert "kernel" not in cli("info", trained_once).out


def test_info_without_a_run_names_the_precision_of_training_and_why(cli, trained_once, monkeypatch):
    asked = []

    def choose(*arguments):
        asked.append(arguments)
        return PrecisionChoice("bfloat16", "faster on this processor")

    monkeypatch.setattr(select, "choose_precision", choose)
    store_choice("fused", "stories")
    assert only_json(cli("info", "--json"))["training_precision"] == "bfloat16: faster on this processor"
    assert [(precision, kernel.name, device) for precision, kernel, device in asked] == [("auto", "fused", "cpu")]
    assert re.search("^training precision +bfloat16: faster on this processor$", cli("info").out, re.MULTILINE)
    assert "training_precision" not in only_json(cli("info", trained_once, "--json"))


def test_data(cli, monkeypatch, tmp_path):
    names = [entry["name"] for entry in only_json(cli("data", "list", "--json"))["texts"]]
    assert names == ["builtin:stories", "children-stories", "lord-of-the-rings", "tiny-shakespeare"]
    assert all(name in cli("data", "list").out for name in names)
    from unrolled.data import downloads

    def urlopen(url, timeout):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(downloads.urllib.request, "urlopen", urlopen)
    failed = cli("data", "get", "tiny-shakespeare", "--out", tmp_path / "texts")
    assert (failed.status, failed.out) == (2, "")
    assert "Network is unreachable" in failed.err
    assert "By hand" in failed.err
    (tmp_path / "texts" / "lotr_scripts.csv").write_text("x")
    path = str(tmp_path / "texts" / "lotr_scripts.csv")
    got = only_json(cli("data", "get", "lord-of-the-rings", "--out", tmp_path / "texts", "--json"))
    assert got == {"name": "lord-of-the-rings", "path": path, "source": path + ":dialog"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.txt", b"", "empty"),
        ("none.txt", None, "There is no file"),
        ("binary.bin", bytes(range(256)) * 20, "binary.bin"),
        ("latin.txt", b"caf\xe9 au lait", "latin.txt"),
        ("table.csv", b"a,b\n1,2\n", "say which column"),
    ],
)
def test_a_text_that_is_none_is_one_sentence_for_every_command(
    cli, trained_once, tmp_path, monkeypatch, name, content, words
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for command in (["evaluate", trained_once, name], ["score", trained_once, name], ["train", name, "--out", "new"]):
        done = cli(*command)
        assert (done.status, done.out) == (2, ""), command
        assert done.err.startswith("Error: ")
        assert words in done.err
        assert "Traceback" not in done.err
    assert not (tmp_path / "new").exists()

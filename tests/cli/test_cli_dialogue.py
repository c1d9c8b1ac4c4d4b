"""Records of words, subwords and characters in all commands: train, evaluate, score, generate, resume."""

import json
import random
import re
import shutil

import pytest

from tests.conftest import TINY
from unrolled import load

SPEAKERS = ("SAM", "FRODO", "GOLLUM the second")


def lines():
    draw = random.Random(5)
    words = ["ring", "precious", "Mordor,", "the", "we", "go", "to", "don't", "hobbits!", "home"]
    return [(draw.choice(SPEAKERS), " ".join(draw.choices(words, k=draw.randint(2, 9)))) for _ in range(200)]


@pytest.fixture(scope="session")
def dialogue(tmp_path_factory):
    """A folder with a CSV file and a run for each kind of token."""
    from unrolled.training import train

    folder = tmp_path_factory.mktemp("dialogue")
    (folder / "lines.csv").write_text("who,said\n" + "".join(f'{who},"{said}"\n' for who, said in lines()))
    common = {**TINY, "data.split": "records", "data.speaker_column": "who", "training.batching": "streams"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLLED_CACHE", str(folder / "cache"))
        for kind, size in (("word", 0), ("bpe", 300), ("character", 0)):
            settings = {**common, "data.tokenizer": kind, "data.vocabulary_size": size}
            train(f"{folder}/lines.csv:said", folder / kind, settings=settings, command="unrolled train")
    return folder


def figures(done):
    assert done.status == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize("kind", ["word", "bpe", "character"])
def test_each_part_is_measured_as_training_split_it(cli, dialogue, kind):
    source = f"{dialogue}/lines.csv:said"
    corpus = json.loads((dialogue / kind / "config.json").read_text())["corpus"]
    parts = {}
    for split in ("train", "valid", "test"):
        done = cli("evaluate", dialogue / kind, source, "--split", split, "--json")
        parts[split] = figures(done)
        assert "not the text that the run was trained on" not in done.err
        assert parts[split]["tokens"] == corpus[f"{split}_tokens"]
        assert parts[split]["characters"] == corpus[f"{split}_characters"]
    whole = figures(cli("evaluate", dialogue / kind, source, "--json"))
    assert whole["characters"] == sum(part["characters"] for part in parts.values())
    assert whole["characters"] == sum(len(f"{who}: {said}") + 1 for who, said in lines())
    best = load(dialogue / kind).best.valid_loss_nats
    assert parts["valid"]["nats_per_token"] == pytest.approx(best, rel=0.02)


def test_another_text_is_split_by_the_same_rule_and_that_is_said(cli, dialogue, tmp_path):
    (tmp_path / "other.txt").write_text("SAM: go home\n" * 50)
    done = cli("evaluate", dialogue / "word", tmp_path / "other.txt", "--split", "test", "--json")
    assert figures(done)["tokens"] == 5 * 4
    assert "This is not the text that the run was trained on" in done.err


def test_a_run_with_a_validation_text_of_its_own_has_no_parts(cli, dialogue, tmp_path):
    (tmp_path / "valid.txt").write_text("we go home\n" * 9)
    options = [text for name, value in TINY.items() for text in ("--set", f"{name}={value}")]
    options += ["--set", "data.split=records", "--set", "data.tokenizer=word", "--quiet"]
    source = f"{dialogue}/lines.csv:said"
    done = cli("train", source, "--valid", tmp_path / "valid.txt", "--out", tmp_path / "run", *options)
    assert done.status == 0, done.err
    assert "test_tokens" not in json.loads((tmp_path / "run" / "config.json").read_text())["corpus"]
    refused = cli("evaluate", tmp_path / "run", source, "--split", "valid")
    assert refused.status == 2
    assert "The run was trained on all of this text" in refused.err
    assert cli("evaluate", tmp_path / "run", tmp_path / "valid.txt").status == 0


def test_training_reports_what_the_words_cover(cli, dialogue, tmp_path):
    options = [text for name, value in TINY.items() for text in ("--set", f"{name}={value}")]
    options += ["--set", "data.split=records", "--set", "data.tokenizer=word", "--steps", 2]
    done = cli("train", f"{dialogue}/lines.csv:said", "--out", tmp_path / "run", *options)
    assert done.status == 0, done.err
    said = re.sub(r"\s+", " ", done.err)
    assert "200 records: 140 to learn from, 40 to validate on, 20 to test." in said
    assert re.search(r"The training text has \d+ words of 10 types; 10 types are in the vocabulary, and 0\.0%", said)
    assert "tokens/s" in said


def test_words_end_sentences_and_a_prompt_of_unknown_words_works_and_is_reported(cli, dialogue):
    done = cli("generate", dialogue / "word", "Xyzzy PLUGH!", "--seed", 3, "--max-tokens", 500)
    assert done.status == 0
    assert "does not know 'xyzzy', 'plugh'" in done.err
    assert done.out.startswith("Xyzzy PLUGH! ")
    assert "<unk>" not in done.out
    sample = figures(cli("generate", dialogue / "word", "SAM:", "--seed", 3, "--max-tokens", 500, "--json"))["samples"][
        0
    ]
    assert sample["finish_reason"] == "stop"
    assert sample["tokens"] < 500
    refused = cli("generate", dialogue / "word", "--unknown-token", "sometimes")
    assert "unknown_token = 'sometimes' should be 'banned' or 'allowed'" in refused.err


def test_scores_of_words_are_those_of_the_evaluation(cli, dialogue, tmp_path):
    text = b"SAM: we go home\nFRODO: xyzzy!\n"
    scored = figures(cli("score", dialogue / "word", "-", "--json", stdin=text))
    assert [row["token"] for row in scored["scores"]] == ["SAM:", " we", " go", " home", "\n", "FRODO:", " <unk>", "\n"]
    measured = figures(cli("evaluate", dialogue / "word", "-", "--json", stdin=text))
    assert {name: value for name, value in scored.items() if name != "scores"} == measured
    assert measured["unknown_tokens"] == 1
    assert "each counts as <unk>" in cli("evaluate", dialogue / "word", "-", stdin=text).err


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_going_on_needs_no_text_and_with_the_text_alone_no_cache(cli, dialogue, tmp_path, monkeypatch, kind):
    run = shutil.copytree(dialogue / kind, tmp_path / "run")
    monkeypatch.setenv("UNROLLED_CACHE", str(dialogue / "cache"))
    assert cli("train", "--resume", run, "--steps", 26, "--quiet").status == 0
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "another"))
    done = cli("train", "--resume", run, "--steps", 28, "--quiet", "--json")
    assert figures(done)["step"] == 28


def test_fine_tuning_keeps_the_kind_of_tokens_and_the_way_of_splitting(cli, dialogue, tmp_path):
    options = [text for name, value in TINY.items() if "training" in name for text in ("--set", f"{name}={value}")]
    source = f"{dialogue}/lines.csv:said"
    done = cli("train", source, "--init-from", dialogue / "bpe", "--out", tmp_path / "run", "--quiet", *options)
    assert done.status == 0, done.err
    data = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert (data["tokenizer"], data["split"], data["speaker_column"]) == ("bpe", "records", "who")
    other = ["--set", "data.tokenizer=word", "--out", tmp_path / "other"]
    refused = cli("train", source, "--init-from", dialogue / "bpe", *other)
    assert "has a vocabulary of kind bpe; leave data.tokenizer out" in refused.err


def test_python_scores_records_as_the_commands_do(dialogue):
    for kind, tokens in (("word", 3), ("bpe", None), ("character", 8)):
        score = load(dialogue / kind).score("we go!!\n")
        assert tokens in (None, len(score.token_strings))
        assert score.token_strings[-1] == "\n"
        assert "".join(score.token_strings) in ("we go!!\n", "we go\n")


@pytest.mark.parametrize(
    ("source", "content", "words"),
    [
        ("a.csv:text", "who,said\nx,y\n", "no column 'text'; its columns are: who, said"),
        ("a.csv:said", 'who,said\nx,"y\nz,w\n', "begins at line 2 has a quote that is never closed"),
        ("a.jsonl:text", '{"said": "y"}\n', "no field 'text'; its fields are: said"),
        ("a.jsonl:said", '{"said": "y"}\n{"said" "z"}\n', "line 2, column 9"),
        ("a.jsonl", '{"said": "y"}\n', "say which field to read"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_sentence(cli, tmp_path, monkeypatch, source, content, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / source.partition(":")[0]).write_text(content)
    for split in ("records", "position"):
        done = cli("train", source, "--out", "run", "--set", f"data.split={split}")
        assert (done.status, done.out) == (2, "")
        assert words in done.err
        assert not (tmp_path / "run").exists()

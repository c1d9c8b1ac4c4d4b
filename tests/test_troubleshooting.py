"""The program prints every message that docs/troubleshooting.md quotes; most of them are provoked here."""

import ast
import inspect
import json
import re
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import STORY
from tests.importers.elsewhere import Stacked, save_model, save_words, word_layout, words
from unrolled.native import library
from unrolled.runs.run_lock import run_lock

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
MESSAGES = re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)
QUICK = [
    *("--set", "model.embedding_size=3", "--set", "model.hidden_size=4", "--set", "training.threads=1"),
    *("--steps", "1", "--set", "training.preview_tokens=0", "--out", "new"),
]


def with_anything(message):
    """Return a pattern for the printed message, in which `…` matches anything."""
    return ".*".join(re.escape(part) for part in message.split("…"))


def texts_in(path):
    """Yield every string of a source file, with `…` for what is filled in at run time."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield re.sub("…+", "…", "".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.fixture(scope="module")
def all_texts():
    files = [*sorted((ROOT / "src").rglob("*.py")), ROOT / "hatch_build.py", ROOT / "app" / "app.py"]
    return [*(text for path in files for text in texts_in(path)), (ROOT / "Makefile").read_text("utf-8")]


@pytest.fixture
def place(tmp_path, monkeypatch, run):
    """A folder of texts, tables, runs and checkpoints, most of them with a fault."""
    monkeypatch.chdir(tmp_path)
    for name, content in TEXTS.items():
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    Path("pictures").mkdir()
    Path("pictures/one.png").write_bytes(b"\x89PNG")
    Path("elsewhere").mkdir()
    save_model(Path("elsewhere"), word_layout(Stacked(13)), "lotr_lstm_lm.pt")
    return tmp_path


TEXTS = {
    "story.txt": STORY,
    "empty.txt": "",
    "latin.txt": "caf\xe9 au lait".encode("latin-1"),
    "wide.txt": "wide".encode("utf-16"),
    "binary.txt": b"a\0b",
    "tiny.txt": "Not much.",
    "greek.txt": "\u03b1\u03b2\u03b3 \u03b4\u03b5\n" * 40,
    "new-words.txt": "quokkas wombats\n",
    "table.csv": "name,text\nann,hello there\n",
    "twice.csv": "text,text\na,b\n",
    "ragged.csv": "name,text\n" + "ann,hello, there\nbob,well\n" * 20,
    "open.csv": 'name,text\nann,"hello\nbob,well\n',
    "gaps.csv": "name,text\n" + "ann,hello there\nbob,\n" * 20,
    "posts.jsonl": '{"text": "hello"}\n',
    "broken.jsonl": '{"text": "hello"}\n["hello"]\n',
    "numbers.jsonl": '{"text": "hello"}\n{"text": 7}\n',
}
WORDS = ("--set", "data.tokenizer=word", "--set", "data.min_count=1", *QUICK)

# The beginning of a message, or an unmistakable part of it, and the command that provokes it.
COMMANDS = {
    "There is no file …": ("train", "nowhere.txt"),
    "… is empty; there is nothing": ("train", "empty.txt"),
    "… is not UTF-8": ("train", "latin.txt"),
    "… is UTF-16": ("train", "wide.txt"),
    "… looks binary": ("train", "binary.txt"),
    "The folder … has no .txt": ("train", "pictures"),
    "The text has only …": ("train", "tiny.txt", *QUICK),
    "The text has … tokens": ("train", "story.txt", *QUICK),
    "… is a … file; say which": ("train", "table.csv"),
    "… has no column": ("train", "table.csv:line"),
    "… has no field": ("train", "posts.jsonl:body"),
    "… has … columns named": ("train", "twice.csv:text"),
    "… rows of … have more cells": ("train", "ragged.csv:text", *QUICK),
    "… has a quote that": ("train", "open.csv:text"),
    "… is not a JSON object": ("train", "broken.jsonl:text"),
    "… is not text but": ("train", "numbers.jsonl:text"),
    "… records without text": ("train", "gaps.csv:text", "--set", "data.split=records", *QUICK),
    "The training text has … words": ("train", "story.txt", *WORDS),
    "… has … words (": ("train", "story.txt", "--valid", "new-words.txt", *WORDS),
    "No word of the training text": ("train", "story.txt", *WORDS, "--set", "data.min_count=900"),
    "The training text holds no word": ("train", "greek.txt", *WORDS),
    "A vocabulary of …": ("train", "story.txt", *WORDS, "--set", "data.vocabulary_size=2"),
    "bpe needs": ("train", "story.txt", "--set", "data.tokenizer=bpe", "--set", "data.vocabulary_size=100"),
    "records need": ("train", "--set", "data.split=records", "--set", "data.valid_fraction=0.95"),
    "This text has no … part": ("evaluate", "fox", "story.txt", "--split", "test"),
    "There is no preset": ("train", "story.txt", "--preset", "storys"),
    "there is no setting": ("train", "story.txt", "--set", "model.hiden_size=5"),
    "--set takes": ("train", "story.txt", "--set", "model.hidden_size"),
    "model.tying": ("train", "story.txt", "--set", "model.tying=tied"),
    "… already holds a run": ("train", "story.txt", "--out", "fox"),
    "… is not empty": ("train", "story.txt", "--out", "pictures"),
    "--resume continues": ("train", "--resume", "fox", "--seed", "1"),
    "There is nothing left to do": ("train", "--resume", "fox"),
    "The run to start from has another": ("train", "--init-from", "fox", "--set", "model.hidden_size=5"),
    "The run to start from has a voc": ("train", "--init-from", "fox", "--set", "data.tokenizer=bpe"),
    "The run to start from decides": (
        *("train", "story.txt", "--init-from", "fox", "--preset", "stories"),
        *("--steps", "1", "--set", "training.preview_tokens=0", "--out", "new"),
    ),
    "… The earlier name still": ("train", "story.txt", "--set", "model.dropout=0.1", *QUICK),
    "There is no run at": ("generate", "foxes", "The"),
    "… holds no run: config.json": ("generate", "pictures", "The"),
    "Note: the model does not know": ("generate", "fox", "\u2603", "--max-tokens", "1"),
    "Put -- before": ("generate", "fox", "- and then"),
    "… nothing to measure": ("evaluate", "imported", "greek.txt"),
    "This is not the text that": ("evaluate", "fox", "new-words.txt", "--split", "valid"),
    "… holds no model": ("import", "pictures", "--out", "new"),
    "There was no vocabulary": ("import", "elsewhere", "--out", "new"),
    "The vocabulary … has … entries": ("import", "elsewhere", "--vocab", "vocab.pkl", "--out", "new"),
    "… entries of … can be written": ("import", "elsewhere", "--vocab", "capitals.pkl", "--out", "new"),
    "… holds … twice": ("import", "elsewhere", "--vocab", "twice.txt", "--out", "new"),
    "… holds several checkpoints": ("import", "several", "--out", "new"),
    "… matches no layout": ("import", "linear.pt", "--out", "new"),
    "… is ambiguous: more than one LSTM": ("import", "two.pt", "--out", "new"),
    "… lacks a layer": ("import", "gap.pt", "--out", "new"),
    "… is in the old format": ("import", "old.pt", "--out", "new"),
    "… holds a Python object": ("import", "module.pt", "--out", "new"),
    "… is not a PyTorch checkpoint": ("import", "text.pt", "--out", "new"),
    "… is truncated or damaged; copy": ("import", "half.pt", "--out", "new"),
    "… is not laid out as torch.save does it": ("import", "longer.pt", "--out", "new"),
    "Port … does not exist": ("serve", "--port", "70000"),
    "There is no address": ("serve", "--host", "no.such.address.invalid"),
    "The prefix … is not a URL path": ("serve", "--prefix", "/a?b", "--port", "0"),
    "… is not a host name": ("serve", "--allow-host", "https://hub.example", "--port", "0"),
    "The kernel … does not train in": ("train", "--kernel", "fused", "--set", "training.precision=bfloat16", *QUICK),
    "There is no device": ("train", "story.txt", "--device", "gpu"),
}


def the_message(beginning):
    """Return the only message of the page that matches."""
    (found,) = [message for message in MESSAGES if re.match(with_anything(beginning), message)]
    return found


def assert_printed(beginning, done):
    message = the_message(beginning)
    assert re.search(with_anything(message), done.err, re.DOTALL), f"{message!r} is not in:\n{done.err}"


@pytest.fixture
def imported(place, cli):
    """A run of words, and checkpoints and vocabularies with faults."""
    save_words(Path("elsewhere"), words(13))
    assert cli("import", "elsewhere", "--out", "imported").status == 0
    Path("elsewhere/vocab.pkl").unlink()
    save_words(place, words(15))
    save_words(place, ["<unk>", "<eos>", *"ABCDEFGHIJ", "two words"], "capitals.pkl")
    Path("twice.txt").write_text("a\na\n" + "".join(f"w{k}\n" for k in range(11)), "utf-8")
    state = word_layout(Stacked(13))
    shutil.copytree("elsewhere", "several")
    Path("several/lotr_lstm_lm.pt").rename("several/one.pt")
    shutil.copy("several/one.pt", "several/two.pt")
    torch.save({"weight": torch.ones(3, 4)}, "linear.pt")
    torch.save({**state, **{name.replace("lstm.", "rnn."): tensor for name, tensor in state.items()}}, "two.pt")
    torch.save({name.replace("_l1", "_l2"): tensor for name, tensor in state.items()}, "gap.pt")
    torch.save(state, "old.pt", _use_new_zipfile_serialization=False)
    torch.save(Stacked(13), "module.pt")
    Path("text.pt").write_text("no model", "utf-8")
    good = Path("elsewhere/lotr_lstm_lm.pt").read_bytes()
    Path("half.pt").write_bytes(good[:900])
    Path("longer.pt").write_bytes(b"PK\x03\x04" + good)
    return place


@pytest.mark.parametrize("beginning", COMMANDS)
def test_the_command_prints_the_quoted_message(imported, cli, beginning):
    assert_printed(beginning, cli(*COMMANDS[beginning]))


def test_damaged_runs_print_the_quoted_messages(place, cli):
    def damaged(beginning, change, *command):
        shutil.rmtree("bad", ignore_errors=True)
        shutil.copytree("fox", "bad")
        change()
        assert_printed(beginning, cli(*(command or ("generate", "bad", "The"))))

    weights, config = Path("bad/model.safetensors"), Path("bad/config.json")
    checkpoint = Path("bad/checkpoints/last.safetensors")

    def with_config(**changes):
        config.write_text(json.dumps({**json.loads(config.read_text("utf-8")), **changes}), "utf-8")

    def with_nan():
        from safetensors import safe_open

        with safe_open(weights, "pt") as file:
            about = file.metadata()
        tensors = load_file(weights)
        tensors["output_bias"][0] = float("nan")
        save_file(tensors, weights, about)

    damaged("… is missing; the run has no weights", weights.unlink)
    damaged("… is damaged or is not a safetensors", lambda: weights.write_bytes(b"version https://git-lfs"))
    damaged("… holds numbers that are not finite", with_nan)
    damaged("The run has format version", lambda: with_config(format_version=99))
    damaged("… disagrees with config.json", lambda: with_config(model={"hidden_size": 8}))
    edited = {"regularization": {"dropout": 0.5}}
    damaged("… has changed since the run began (", lambda: with_config(**edited), "train", "--resume", "bad")
    damaged("There is no checkpoint", checkpoint.unlink, "train", "--resume", "bad")
    damaged("… is damaged and training", lambda: checkpoint.write_bytes(b"no"), "train", "--resume", "bad")
    assert cli("train", "new-words.txt", *QUICK).status == 0
    damaged("The tokenizer in", lambda: [shutil.copy(f"new/{n}.json", "bad") for n in ("tokenizer", "vocab")])


def test_a_changed_text_and_a_second_process_print_the_quoted_messages(place, cli, monkeypatch):
    assert cli("train", "story.txt", *QUICK).status == 0
    Path("story.txt").write_text(STORY + "One more line.\n", "utf-8")
    monkeypatch.setenv("UNROLLED_CACHE", str(place / "another-cache"))
    assert_printed("The text in … has changed", cli("train", "--resume", "new", "--steps", "2"))
    with run_lock(place / "fox"):
        assert_printed("Another process is training", cli("train", "--resume", "fox", "--steps", "99"))


def test_a_taken_port_prints_the_quoted_message(cli, trained_once):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli("serve", trained_once, "--port", taken.getsockname()[1])
    assert_printed("Port … is in use", done)


def test_a_missing_gpu_kernel_cache_or_model_prints_the_quoted_message(place, cli, monkeypatch):
    if not torch.cuda.is_available():
        assert_printed("No CUDA GPU", cli("train", "story.txt", "--device", "cuda"))
    monkeypatch.setenv("UNROLLED_CACHE", str(place / "story.txt"))
    assert_printed("The cache folder", cli("train", "story.txt", *QUICK))
    monkeypatch.setattr("unrolled.training.computing.available_kernels", dict)
    asked = ("train", "story.txt", "--set", "training.kernel=native", "--out", "none")
    assert_printed("The kernel … is not available", cli(*asked))


def test_a_pinned_variant_that_cannot_be_had_prints_the_quoted_messages(cli, monkeypatch):
    def pinned(name, level, *built):
        libraries = {n: SimpleNamespace(_name=f"{n}.so", lstm_processor_level=lambda: level) for n in built}
        monkeypatch.setattr(library, "_open", libraries.get)
        monkeypatch.setattr(library, "_chosen", inspect.unwrap(library._chosen))  # not what it remembers
        monkeypatch.setenv("UNROLLED_NATIVE", name)
        return cli("info")

    assert_printed("UNROLLED_NATIVE is …, which is not", pinned("sse9", 3, "portable"))
    assert_printed("UNROLLED_NATIVE is … cannot execute", pinned("avx512", 1, "avx512", "portable"))
    assert_printed("UNROLLED_NATIVE is … was not built", pinned("avx2", 3, "portable"))


def test_every_quoted_message_stands_in_the_program_or_was_provoked(all_texts):
    provoked = {message for message in MESSAGES if message.startswith("UNROLLED_NATIVE")}
    provoked |= {the_message(beginning) for beginning in COMMANDS}
    missing = [m for m in MESSAGES if m not in provoked and not any(m in text for text in all_texts)]
    assert missing == []
    assert len(MESSAGES) == len(set(MESSAGES)) > 80
    assert len(provoked) > 50


def test_the_search_in_the_source_does_not_find_a_message_that_is_never_printed(all_texts):
    assert not any("Port … on … is taken" in text for text in all_texts)
    assert any("Port … on … is in use by another program" in text for text in all_texts)


def test_every_command_and_setting_that_the_page_names_exists(cli):
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"`(?!unrolled)[a-z-]+ [^`]*`", "", PAGE)))
    known = "".join(cli(c, "--help").out for c in ("train", "generate", "import", "serve", "info", "evaluate", "bench"))
    assert {option for option in options if f"{option} " not in known and f"{option}\n" not in known} == set()
    from unrolled.config import setting_names

    named = re.findall(r"\b((?:model|data|training)\.[a-z_]+)", PAGE)
    assert set(named) - {"model.safetensors", "model.state_dict", "model.pt"} <= set(setting_names())

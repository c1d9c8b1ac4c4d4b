"""Loading a saved tokenizer: what was saved comes back, and every damage is one plain sentence."""

import json
import subprocess
import sys

import pytest
from tokenizers import Tokenizer as HubTokenizer
from tokenizers import models

from unrolled.errors import UserError
from unrolled.text.characters import CharacterTokenizer
from unrolled.text.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture
def saved(tmp_path):
    CharacterTokenizer.from_characters('\n"\\ aé漢😀\x00').save(tmp_path)
    return tmp_path


def edit(path, change):
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def test_a_saved_tokenizer_comes_back_the_same(saved):
    loaded = load_tokenizer(saved)
    original = CharacterTokenizer.from_characters('\n"\\ aé漢😀\x00')
    assert isinstance(loaded, Tokenizer)
    assert (loaded.itos, loaded.fingerprint) == (original.itos, original.fingerprint)


def test_the_vocabulary_file_may_be_absent(saved):
    (saved / "vocab.json").unlink()
    assert load_tokenizer(saved).vocabulary_size == 10


def test_loading_does_not_import_the_tokenizers_library(saved):
    code = (
        "import sys, pathlib; from unrolled.text import load_tokenizer; "
        f"load_tokenizer(pathlib.Path({str(saved)!r})); sys.exit('tokenizers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def swap_two(content):
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["é"] = vocabulary["é"], vocabulary["a"]


DAMAGES = {
    "disagree": swap_two,
    "not 0, 1, 2": lambda content: content["model"]["vocab"].update(a=1000),
    "ids are not": lambda content: content["model"]["vocab"].update({"\x00": True}),
    "no tokenizer": lambda content: content.pop("model"),
    "damaged": lambda content: content["model"].update(vocab=[1, 2]),
    "unrolled did not write": lambda content: content["pre_tokenizer"].update(type="Whitespace"),
    "did not write": lambda content: content.update(normalizer={"type": "Lowercase"}),
    "its own character": lambda content: content["model"].update(type="BPE"),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_changed_tokenizer_file_is_refused(saved, message):
    edit(saved / "tokenizer.json", DAMAGES[message])
    with pytest.raises(UserError, match=message):
        load_tokenizer(saved)


@pytest.mark.parametrize("entry", ["ab", "\ud800", ""])
def test_entries_that_are_not_characters_are_refused(saved, entry):
    (saved / "vocab.json").unlink()
    edit(saved / "tokenizer.json", lambda content: content["model"]["vocab"].update({entry: 10}))
    with pytest.raises(UserError, match="single characters"):
        load_tokenizer(saved)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
@pytest.mark.parametrize("content", [b"", b'{"model": ', b"\xff\xfe", b"[" * 100_000])
def test_a_truncated_or_foreign_file_is_refused(saved, name, content):
    (saved / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is truncated or is not JSON"):
        load_tokenizer(saved)


@pytest.mark.parametrize("content", [[], {"itos": "abc"}, {"itos": [1]}, {"stoi": {}}])
def test_a_foreign_vocabulary_file_is_refused(saved, content):
    (saved / "vocab.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"vocab\.json is damaged"):
        load_tokenizer(saved)


def test_a_missing_file_names_the_folder(tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.json is missing; is .* really a run directory"):
        load_tokenizer(tmp_path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_another_kind_of_tokenizer_is_refused(tmp_path):
    HubTokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="did not write"):
        load_tokenizer(tmp_path)


def test_a_huge_file_is_refused_before_it_is_parsed(saved, monkeypatch):
    monkeypatch.setattr("unrolled.text.tokenizer.MAX_FILE_BYTES", 100)
    with pytest.raises(UserError, match="too large"):
        load_tokenizer(saved)

"""Loading a saved tokenizer: the same tokenizer is restored, and any damage is reported in one sentence."""

import json
import os
import subprocess
import sys

import pytest
from tokenizers import Tokenizer as HubTokenizer
from tokenizers import models

from unrolled.errors import UserError
from unrolled.text.bpe import BytePairTokenizer
from unrolled.text.characters import CharacterTokenizer
from unrolled.text.tokenizer import Tokenizer, load_tokenizer
from unrolled.text.words import WordTokenizer


@pytest.fixture
def saved(tmp_path):
    CharacterTokenizer.from_characters('\n"\\ aé漢😀\x00').save(tmp_path)
    return tmp_path


def words():
    return WordTokenizer(["<unk>", "<eos>", "don't", "ring", "SAM:", "odd Entry:"], tags=["SAM:"])


def subwords():
    return BytePairTokenizer.trained(["the ring and the ring\n" * 9], 265)


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


@pytest.mark.parametrize("make", [words, subwords, lambda: CharacterTokenizer.from_characters("abc")])
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
def test_nothing_is_written_through_a_link_at_the_temporary_name(tmp_path, make, name):
    (tmp_path / "precious").write_text("old")
    (tmp_path / f"{name}.partial").symlink_to("precious")
    make().save(tmp_path)
    assert (tmp_path / "precious").read_text() == "old"
    assert not (tmp_path / name).is_symlink()
    load_tokenizer(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="special files of POSIX systems")
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json"])
def test_a_pipe_or_a_device_in_place_of_a_file_is_refused_at_once(saved, name):
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(UserError, match=r"cannot be read: .* is a named pipe"):
        load_tokenizer(saved)
    (saved / name).unlink()
    (saved / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"cannot be read: .* is a device"):
        load_tokenizer(saved)


def swap_two(content):
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["é"] = vocabulary["é"], vocabulary["a"]


DAMAGES = {
    "disagree": swap_two,
    "not 0, 1, 2": lambda content: content["model"]["vocab"].update(a=1000),
    "ids are not": lambda content: content["model"]["vocab"].update({"\x00": True}),
    "not a tokenizer": lambda content: content.pop("model"),
    "damaged": lambda content: content["model"].update(vocab=[1, 2]),
    "unrolled did not write": lambda content: content["pre_tokenizer"].update(type="Whitespace"),
    "did not write": lambda content: content.update(normalizer={"type": "Lowercase"}),
    "not pairs": lambda content: content["model"].update(type="BPE"),
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


@pytest.mark.parametrize("make", [words, subwords])
def test_words_and_subwords_come_back_the_same(tmp_path, make):
    original = make()
    original.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, Tokenizer)
    assert type(loaded) is type(original)
    assert (loaded.itos, loaded.fingerprint) == (original.itos, original.fingerprint)
    text = "SAM: the ring\nSAM don't"
    assert loaded.encode(text).tolist() == original.encode(text).tolist()


def test_loading_words_does_not_import_the_tokenizers_library(tmp_path):
    words().save(tmp_path)
    test_loading_does_not_import_the_tokenizers_library(tmp_path)


def without_a_merge(content):
    content["model"]["merges"].pop()


WORD_DAMAGES = {
    "did not write": lambda content: content["normalizer"]["normalizers"].pop(),
    "unrolled did not": lambda content: content["normalizer"]["normalizers"][0].update(content="x"),
    "not write": lambda content: content["model"].update(unk_token="ring"),
    "holds a tokenizer that": lambda content: content.update(added_tokens=[{"id": 0}]),
    "or unrolled did": lambda content: content["normalizer"]["normalizers"].append({"content": "GIMLI:"}),
}
SUBWORD_DAMAGES = {
    "exactly once": without_a_merge,
    "not pairs": lambda content: content["model"].update(merges=["t h"]),
    "pairs of texts": lambda content: content["model"]["merges"].append(["a", 1]),
    "did not write": lambda content: content["model"].update(dropout=0.5),
    "unrolled did not": lambda content: content["pre_tokenizer"]["pretokenizers"].pop(),
    "only its own": lambda content: content.update(added_tokens=[{"id": 0}]),
}


@pytest.mark.parametrize(
    ("make", "damages", "message"),
    [(words, WORD_DAMAGES, key) for key in WORD_DAMAGES]
    + [(subwords, SUBWORD_DAMAGES, key) for key in SUBWORD_DAMAGES],
)
def test_a_changed_file_of_words_or_subwords_is_refused(tmp_path, make, damages, message):
    make().save(tmp_path)
    edit(tmp_path / "tokenizer.json", damages[message])
    with pytest.raises(UserError, match=message):
        load_tokenizer(tmp_path)


def test_a_tokenizer_of_no_known_model_is_refused(tmp_path):
    HubTokenizer(models.Unigram([("a", 0.0)])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="did not write"):
        load_tokenizer(tmp_path)

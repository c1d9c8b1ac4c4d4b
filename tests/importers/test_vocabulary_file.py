"""Every form in which people keep the words of a model."""

import json
import pickle

import pytest
import torch

from tests.importers.elsewhere import words
from unrolled.importers.vocabulary_file import read_vocabulary

WORDS = [*words(9), "don't", "caf\u00e9", "<extra>"]
NUMBERED = {word: index for index, word in enumerate(WORDS)}
FORMS = {
    "a list": WORDS,
    "word to id": NUMBERED,
    "id to word": dict(enumerate(WORDS)),
    "itos": {"itos": WORDS},
    "stoi": {"stoi": NUMBERED, "itos": None},
    "itos as a dict": {"itos": dict(enumerate(WORDS))},
    "word2idx": {"word2idx": NUMBERED, "size": 12},
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", [name for name in FORMS if name != "stoi"])
def test_a_pickle_of_plain_containers(tmp_path, form, protocol):
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps(FORMS[form], protocol))
    assert read_vocabulary(tmp_path / "vocab.pkl") == WORDS


@pytest.mark.parametrize("form", FORMS)
def test_json(tmp_path, form):
    (tmp_path / "vocab.json").write_text(json.dumps(FORMS[form]), "utf-8")
    assert read_vocabulary(tmp_path / "vocab.json") == WORDS


@pytest.mark.parametrize("form", FORMS)
def test_what_torch_saved(tmp_path, form):
    torch.save(FORMS[form], tmp_path / "vocab.pkl")
    assert read_vocabulary(tmp_path / "vocab.pkl") == WORDS


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_word_a_line(tmp_path, end):
    (tmp_path / "vocab.txt").write_bytes((end or "\n").join(WORDS).encode() + end.encode())
    assert read_vocabulary(tmp_path / "vocab.txt") == WORDS


def test_numbers_in_a_dict_may_be_in_any_order(tmp_path):
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps({"b": 1, "c": 2, "a": 0}))
    assert read_vocabulary(tmp_path / "vocab.pkl") == ["a", "b", "c"]


def test_a_large_vocabulary_of_an_old_python(tmp_path):
    many = [f"w{index}" for index in range(50_000)]
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps(many, 0))
    assert read_vocabulary(tmp_path / "vocab.pkl") == many

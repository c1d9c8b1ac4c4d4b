"""The character tokenizer compared with Hugging Face `tokenizers` and with a dictionary."""

import hashlib
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as HubTokenizer

from unrolled.text.characters import CharacterTokenizer

VOCABULARY = "\x00\n aäbcdeé‘漢\ufffd😀<unk>\u0301\U0010ffff"
any_text = st.text(alphabet=st.one_of(st.sampled_from(VOCABULARY), st.characters(exclude_categories=["Cs"])))


@pytest.fixture(scope="module")
def tokenizer():
    return CharacterTokenizer.from_characters(VOCABULARY)


@pytest.fixture(scope="module")
def hub(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    tokenizer.save(folder)
    return HubTokenizer.from_file(str(folder / "tokenizer.json"))


def test_unknown_comes_first_and_characters_follow_by_code_point(tokenizer):
    assert tokenizer.itos == ("<unk>", *sorted(set(VOCABULARY), key=ord))
    assert tokenizer.vocabulary_size == len(set(VOCABULARY)) + 1


@given(text=any_text)
def test_the_library_agrees_on_every_string(tokenizer, hub, text):
    encoding = hub.encode(text)
    assert tokenizer.encode(text).tolist() == encoding.ids
    if not tokenizer.unknown_in(text):
        assert hub.decode(encoding.ids) == text == tokenizer.decode(encoding.ids)


@given(text=st.text())
def test_encoding_equals_a_dictionary_and_decoding_marks_what_is_unknown(tokenizer, text):
    ids = tokenizer.encode(text)
    known = {character: index for index, character in enumerate(sorted(set(VOCABULARY)), start=1)}
    assert ids.tolist() == [known.get(character, 0) for character in text]
    assert tokenizer.decode(ids) == "".join(c if c in known else "\ufffd" for c in text)
    assert "".join(tokenizer.token_strings(ids)) == tokenizer.decode(ids)
    assert len(tokenizer.token_strings(ids)) == len(text)


@given(text=st.text())
def test_one_token_at_a_time_decodes_to_the_same_text(tokenizer, text):
    ids = tokenizer.encode(text)
    decoder = tokenizer.incremental()
    assert "".join(decoder.push(index) for index in ids.tolist()) + decoder.flush() == tokenizer.decode(ids)


def test_lone_surrogates_are_unknown(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800b\udfff")) == "a\ufffdb\ufffd"
    assert tokenizer.encode("\udc80").tolist() == [0]


def test_the_name_of_the_unknown_token_is_ordinary_text(tokenizer):
    assert tokenizer.decode(tokenizer.encode("<unk>")) == "<unk>"
    assert 0 not in tokenizer.encode("<unk>")


def test_texts_longer_than_a_chunk_are_encoded_whole():
    text = "abcdé" * 40_001
    tokenizer = CharacterTokenizer.from_characters("abcd")
    assert tokenizer.encode(text).tolist() == [1, 2, 3, 4, 0] * 40_001


def test_encoding_needs_less_than_three_bytes_a_character_beyond_the_text():
    text = "once upon a time " * 100_000
    tokenizer = CharacterTokenizer.from_characters(map(chr, range(32, 700)))  # two bytes per id
    tracemalloc.start()
    ids = tokenizer.encode(text)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ids.itemsize == 2
    assert peak_bytes < 3 * len(text)


@pytest.mark.parametrize(("characters", "itemsize"), [(1, 1), (255, 1), (256, 2), (65_535, 2), (65_536, 4)])
def test_ids_have_the_smallest_type_that_holds_the_vocabulary(characters, itemsize):
    code_points = [c for c in range(characters + 2_048) if not 0xD800 <= c <= 0xDFFF][:characters]
    tokenizer = CharacterTokenizer.from_characters(map(chr, code_points))
    ids = tokenizer.encode(chr(code_points[-1]))
    assert (ids.itemsize, ids.dtype.kind, ids.tolist()) == (itemsize, "u", [characters])


def test_unknown_characters_are_reported_once_in_order_of_appearance(tokenizer):
    assert tokenizer.unknown_in("xyaxz\ud800y") == ["x", "y", "z", "\ud800"]
    assert tokenizer.unknown_in("abc") == []


@pytest.mark.parametrize(("characters", "start"), [("ab\n", 1), ("ab", 0), ("", 0)])
def test_texts_start_from_a_newline_where_it_is_known(characters, start):
    assert CharacterTokenizer.from_characters(characters).start_id == start


def test_surrogates_stay_out_of_the_vocabulary():
    assert CharacterTokenizer.from_characters("a\ud800").itos == ("<unk>", "a")


def test_the_fingerprint_distinguishes_vocabularies_and_never_changes():
    canonical = '{"kind":"character","itos":["<unk>","a","é"]}'
    assert CharacterTokenizer(["<unk>", "a", "é"]).fingerprint == hashlib.sha256(canonical.encode()).hexdigest()
    assert CharacterTokenizer(["<unk>", "é", "a"]).fingerprint != CharacterTokenizer(["<unk>", "a", "é"]).fingerprint


def test_the_vocabulary_is_saved_as_the_seed_has_it(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    raw = (tmp_path / "vocab.json").read_bytes()
    assert json.loads(raw.decode("utf-8")) == {"itos": list(tokenizer.itos)}
    assert "漢".encode() in raw
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "vocab.json"]


@pytest.mark.parametrize("ids", [[-1], [7], [0, 99], np.array([4], dtype=np.uint8)])
def test_an_id_outside_the_vocabulary_is_the_callers_mistake(ids):
    tokenizer = CharacterTokenizer.from_characters("abc")
    with pytest.raises(ValueError, match=r"0\.\.3"):
        tokenizer.decode(ids)
    with pytest.raises(ValueError, match=r"0\.\.3"):
        tokenizer.incremental().push(int(ids[-1]))


@pytest.mark.parametrize(
    "itos", [[], ["a"], ["<unk>", "ab"], ["<unk>", ""], ["<unk>", "a", "a"], ["<unk>", "\ud800"], ["<unk>", 7]]
)
def test_other_vocabularies_are_refused(itos):
    with pytest.raises(ValueError, match="vocabulary"):
        CharacterTokenizer(itos)

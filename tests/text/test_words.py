"""The word tokenizer compared with a plain regular expression and with Hugging Face `tokenizers`."""

import hashlib
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as HubTokenizer

from unrolled.text.words import WordTokenizer, words_of

WORDS = ["the", "a", "k", "i", "don't", "7", "x'", "gandalf", "merry", "and", "unk", "eos"]
TAGS = ["GANDALF:", "A:", "A:B:", "MERRY and PIPPIN:", "Éo.w[yn]:", "x'\\:"]
ODD = [
    "\n",
    "\n\n",
    " ",
    "\r",
    "\x0b",
    "\x1c",
    "\x1f",
    "\x85",
    "\xa0",
    "\u2028",
    "\u3000",
    "\u200b",
    "İ",
    "K",
    "ſ",
    "ß",
]
MORE = ["<eos>", "<unk>", "’", "!", ":", "\U000f0000", "\U000f0001", "\U0010ffff", "Don't", "The"]
any_text = st.lists(
    st.one_of(
        st.sampled_from([*WORDS, *TAGS, *ODD, *MORE]), st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
    )
).map("".join)


@pytest.fixture(scope="module")
def plain():
    return WordTokenizer(["<unk>", "<eos>", *WORDS])


@pytest.fixture(scope="module")
def tagged():
    return WordTokenizer(["<unk>", "<eos>", *WORDS, *TAGS], tags=TAGS)


@pytest.fixture(scope="module")
def hub_of(tmp_path_factory):
    def loaded(tokenizer):
        folder = tmp_path_factory.mktemp("saved")
        tokenizer.save(folder)
        return HubTokenizer.from_file(str(folder / "tokenizer.json"))

    return loaded


@pytest.fixture(scope="module")
def hubs(plain, tagged, hub_of):
    return hub_of(plain), hub_of(tagged)


def seeds_rule(line):
    """The rule for words: lower case, keep [a-z0-9'], split at white space."""
    return re.sub(r"[^a-z0-9'\s]", "", line.lower()).split()


@given(text=any_text)
def test_lines_of_words_and_their_ends_are_those_of_the_plain_rule(plain, text):
    lines = text.split("\n")
    expected = []
    for number, line in enumerate(lines):
        words = [word if word in WORDS else "<unk>" for word in seeds_rule(line)]
        expected += words + (["<eos>"] if words and number < len(lines) - 1 else [])
    assert [plain.itos[index] for index in plain.encode(text)] == expected
    assert words_of(text) == seeds_rule(text)


@given(text=any_text)
def test_the_library_agrees_on_every_string(plain, tagged, hubs, text):
    for tokenizer, hub in zip((plain, tagged), hubs, strict=True):
        assert hub.encode(text).ids == tokenizer.encode(text).tolist()


@given(chunks=st.lists(any_text))
def test_chunks_cut_at_line_ends_encode_as_the_whole(tagged, chunks):
    chunks = [chunk + "\n" for chunk in chunks]
    whole = tagged.encode("".join(chunks)).tolist()
    assert [index for chunk in chunks for index in tagged.encode(chunk)] == whole
    assert tagged.encode_lines("".join(chunks)).tolist() == whole


def test_the_library_reads_the_file_as_it_was_written(tagged, hub_of):
    assert json.loads(hub_of(tagged).to_str()) == tagged.hugging_face()


def test_sentences_end_where_a_line_with_words_ends_and_a_prompt_does_not(plain):
    text = "The GANDALF!\n\n ?!\nDon't a-k\nthe xyz"
    names = "the gandalf <eos> don't <unk> <eos> the <unk>"
    assert plain.decode(plain.encode(text), reversible=True) == names


def test_a_tag_is_one_token_at_the_beginning_of_a_line_only(tagged):
    def names(text):
        return [tagged.itos[index] for index in tagged.encode(text)]

    assert names("GANDALF: the a\nMERRY and PIPPIN:") == ["GANDALF:", "the", "a", "<eos>", "MERRY and PIPPIN:"]
    assert names("gandalf: the") == ["gandalf", "the"]
    assert names("the GANDALF: a") == ["the", "gandalf", "a"]
    assert names(" GANDALF:") == ["gandalf"]
    assert names("A:B: a") == ["A:B:", "a"]
    assert names("A:\n") == ["A:", "<eos>"]


def test_decoded_text_reads_like_text(tagged):
    ids = tagged.encode("GANDALF: the K,  xyz\nand MERRY\n")
    assert tagged.decode(ids) == "GANDALF: the k <unk>\nand merry\n"
    assert tagged.token_strings(ids)[:3] == ["GANDALF:", " the", " k"]


@given(ids=st.lists(st.integers(0, 19)))
def test_pieces_and_one_token_at_a_time_join_to_the_decoded_text(tagged, ids):
    assert "".join(tagged.token_strings(ids)) == tagged.decode(ids)
    decoder = tagged.incremental()
    assert "".join(map(decoder.push, ids)) + decoder.flush() == tagged.decode(ids)
    assert tagged.encode_reversible(tagged.decode(ids, reversible=True)).tolist() == ids


@given(
    itos=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True),
    data=st.data(),
)
def test_the_reversible_text_brings_every_vocabularys_ids_back(itos, data):
    tokenizer = WordTokenizer(itos)
    ids = data.draw(st.lists(st.integers(0, len(itos) - 1)))
    assert tokenizer.encode_reversible(tokenizer.decode(ids, reversible=True)).tolist() == ids


def test_names_with_spaces_and_backslashes_stay_apart():
    tokenizer = WordTokenizer(["a b", "a\\_b", "a", "b"])
    for ids in ([0], [1], [2, 3]):
        assert tokenizer.encode_reversible(tokenizer.decode(ids, reversible=True)).tolist() == ids


def test_a_name_without_a_token_is_the_callers_mistake(plain):
    with pytest.raises(ValueError, match="'sauron'"):
        plain.encode_reversible("the sauron")


@pytest.mark.parametrize(
    ("prompt", "first"), [("", "the"), ("A prompt", " the"), ("A prompt ", "the"), ("line\n", "the")]
)
def test_a_space_comes_before_the_first_word_where_the_prompt_needs_one(plain, prompt, first):
    assert plain.incremental(prompt).push(plain.stoi["the"]) == first


def test_decoded_text_encodes_to_the_same_ids_where_nothing_is_unknown(plain):
    ids = plain.encode("the a\ndon't 7\nk")
    assert plain.encode(plain.decode(ids)).tolist() == ids.tolist()


def test_words_stand_by_falling_count_then_by_alphabet_then_the_tags():
    counts = {"ring": 5, "b": 3, "a": 3, "rare": 2}
    tokenizer = WordTokenizer.from_counts(counts, 3, tags=["SAM:"])
    assert tokenizer.itos == ("<unk>", "<eos>", "ring", "a", "b", "SAM:")
    assert WordTokenizer.from_counts(counts, 1, largest=5, tags=["SAM:"]).itos == (
        "<unk>",
        "<eos>",
        "ring",
        "a",
        "SAM:",
    )
    assert WordTokenizer.from_counts(counts, 1, largest=1).itos == ("<unk>", "<eos>")


def test_unknown_words_are_reported_once_in_order_of_appearance(plain):
    assert plain.unknown_in("Zeta the ALPHA, zeta-\n alpha <eos>") == ["zeta", "alpha"]
    assert plain.unknown_in("the!\n") == []


def test_an_imported_vocabulary_may_have_any_order_and_lack_the_end_and_unknown(hub_of):
    seeds = WordTokenizer(["the", "<eos>", "Odd Entry", "<unk>", "a"])
    assert (seeds.unknown_id, seeds.unwritten_id, seeds.eos_id, seeds.start_id) == (3, 3, 1, 1)
    bare = WordTokenizer(["ring", "the", "<extra_2>"])
    assert (bare.unknown_id, bare.unwritten_id, bare.eos_id, bare.start_id) == (0, None, None, 0)
    assert bare.encode("the odd\nring").tolist() == [1, 0, 0] == hub_of(bare).encode("the odd\nring").ids
    assert bare.decode([1, 2]) == "the <extra_2>"


def test_the_fingerprint_distinguishes_vocabularies_and_tags_and_never_changes():
    canonical = '{"kind":"word","itos":["<unk>","a:"]}'
    assert WordTokenizer(["<unk>", "a:"]).fingerprint == hashlib.sha256(canonical.encode()).hexdigest()
    assert WordTokenizer(["<unk>", "a:"], tags=["a:"]).fingerprint != WordTokenizer(["<unk>", "a:"]).fingerprint


def test_ids_have_the_smallest_type_and_lone_surrogates_vanish(plain):
    ids = plain.encode("the\ud800 a")
    assert (ids.dtype, ids.tolist()) == (np.uint8, [2, 3])


@pytest.mark.parametrize("ids", [[-1], [14], [0, 99]])
def test_an_id_outside_the_vocabulary_is_the_callers_mistake(plain, ids):
    for decode in (plain.decode, lambda ids: plain.decode(ids, reversible=True), plain.token_strings):
        with pytest.raises(ValueError, match=r"0\.\.13"):
            decode(ids)


@pytest.mark.parametrize("itos", [[], ["a", ""], ["a", "b", "a"], ["a", 7], ["a", None], ["\ud800"]])
def test_other_vocabularies_are_refused(itos):
    with pytest.raises(ValueError, match="word vocabulary"):
        WordTokenizer(itos)


@pytest.mark.parametrize("tags", [["SAM"], ["FRODO:"], ["SAM:", "SAM:"], ["two\nlines:"], ["\U000f0000:"]])
def test_tags_that_are_none_are_refused(tags):
    with pytest.raises(ValueError, match="tags"):
        WordTokenizer(["<unk>", "SAM", "SAM:", "two\nlines:", "\U000f0000:"], tags=tags)

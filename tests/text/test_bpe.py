"""The subword tokenizer compared with Hugging Face `tokenizers` and with plain bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as HubTokenizer

from unrolled.text.bpe import BytePairTokenizer

TEXT = "the fox and the hen, the owl and the moon; größer als <eos> 漢字 😀😀!\r\r\r x\n" * 30
awkward = st.lists(
    st.one_of(
        st.sampled_from(["the ", "\n", "\n\n", "\r", "\r\r b", "\u2028", " \x85 ", "<eos>", "é", "漢", "😀", "  "]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    )
).map("".join)


@pytest.fixture(scope="module")
def tokenizer():
    return BytePairTokenizer.trained([TEXT], 300)


@pytest.fixture(scope="module")
def hub(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    tokenizer.save(folder)
    return HubTokenizer.from_file(str(folder / "tokenizer.json"))


@given(text=awkward)
def test_the_library_agrees_on_every_string_and_nothing_is_lost(tokenizer, hub, text):
    ids = tokenizer.encode(text)
    assert ids.tolist() == hub.encode(text).ids
    assert tokenizer.decode(ids) == text == hub.decode(ids.tolist())
    assert tokenizer.eos_id not in ids
    assert tokenizer.unknown_in(text) == []


@given(chunks=st.lists(awkward))
def test_chunks_cut_at_line_ends_encode_as_the_whole(tokenizer, chunks):
    chunks = [chunk + "\n" for chunk in chunks]
    assert [index for chunk in chunks for index in tokenizer.encode(chunk)] == tokenizer.encode(
        "".join(chunks)
    ).tolist()


@given(lines=st.lists(awkward.map(lambda text: text.replace("\n", " ")), min_size=1))
def test_records_end_in_the_end_token_and_the_last_line_only_where_it_is_ended(tokenizer, lines):
    expected = [index for line in lines[:-1] for index in (*tokenizer.encode(line), tokenizer.eos_id)]
    expected += tokenizer.encode(lines[-1]).tolist()
    assert tokenizer.encode_lines("\n".join(lines)).tolist() == expected
    assert tokenizer.decode(expected) == "\n".join(lines)


@given(ids=st.lists(st.integers(0, 299)))
def test_one_token_at_a_time_gives_the_text_of_all_and_never_half_a_character(tokenizer, ids):
    expected = b"".join(map(tokenizer.bytes_of, ids)).decode("utf-8", "replace")
    decoder = tokenizer.incremental()
    assert "".join(map(decoder.push, ids)) + decoder.flush() == expected == tokenizer.decode(ids)
    assert "".join(tokenizer.token_strings(ids)) == expected
    assert len(tokenizer.token_strings(ids)) == len(ids)


def test_a_character_of_several_tokens_comes_out_with_its_last_one(tokenizer):
    ids = tokenizer.encode("漢").tolist()
    rare = tokenizer.encode("\U0001f98a").tolist()
    assert len(rare) > 1
    decoder = tokenizer.incremental("any prompt")
    assert [decoder.push(index) for index in rare] == [""] * (len(rare) - 1) + ["\U0001f98a"]
    assert "".join(map(decoder.push, ids)) == "漢"


def test_the_vocabulary_holds_the_end_every_byte_and_frequent_pairs(tokenizer):
    assert (tokenizer.vocabulary_size, tokenizer.itos[0]) == (300, "<eos>")
    assert sorted(map(tokenizer.bytes_of, range(1, 257))) == [bytes([value]) for value in range(256)]
    assert b" the" in map(tokenizer.bytes_of, range(300))
    assert (tokenizer.unknown_id, tokenizer.unwritten_id, tokenizer.eos_id, tokenizer.start_id) == (None, None, 0, 0)


def test_the_same_text_gives_the_same_vocabulary_however_it_is_cut(tokenizer):
    again = BytePairTokenizer.trained([line + "\n" for line in TEXT.split("\n")[:-1]], 300)
    assert again.fingerprint == tokenizer.fingerprint
    assert BytePairTokenizer.trained([TEXT], 299).fingerprint != tokenizer.fingerprint


def test_a_text_with_few_pairs_gives_a_smaller_vocabulary():
    assert BytePairTokenizer.trained(["ab\n"], 4096).vocabulary_size == 258


def test_a_lone_surrogate_is_read_as_a_replacement_character(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    assert BytePairTokenizer.trained(["a\ud800"], 257).vocabulary_size == 257


def test_the_library_reads_the_file_as_it_was_written(tokenizer, hub):
    assert json.loads(hub.to_str()) == tokenizer.hugging_face()


@pytest.mark.parametrize("ids", [[-1], [300]])
def test_an_id_outside_the_vocabulary_is_the_callers_mistake(tokenizer, ids):
    for decode in (tokenizer.decode, tokenizer.token_strings, lambda ids: tokenizer.incremental().push(ids[0])):
        with pytest.raises(ValueError, match=r"0\.\.299"):
            decode(ids)


def test_other_vocabularies_are_refused(tokenizer):
    itos, merges = tokenizer.itos, tokenizer.merges
    wrong = [
        ([], []),
        (itos[1:], merges),
        (itos[:-1], merges),
        ((*itos, "fox"), merges),
        ((*itos, "a b"), merges),
        ((*itos[:-1], itos[5]), merges),
        (itos, [*merges, ("<", "eos>")]),
        (itos, merges[:-1]),
    ]
    for vocabulary, pairs in wrong:
        with pytest.raises(ValueError, match="subword vocabulary"):
            BytePairTokenizer(vocabulary, pairs)
    backwards = [*merges[-1:], *merges[:-1]]  # a pair with a part that a later merge creates is harmless
    assert BytePairTokenizer(itos, backwards).fingerprint != tokenizer.fingerprint

"""Stand-alone texts as tokens, against encoding the whole text at once."""

import io

import pytest

from unrolled.config import DataSettings
from unrolled.data.encoding import encode_text
from unrolled.errors import UserError
from unrolled.text import BytePairTokenizer, WordTokenizer
from unrolled.text.characters import CharacterTokenizer


def test_a_text_is_encoded_whole_and_counted(tmp_path):
    (tmp_path / "a.txt").write_bytes("abé漢\r\nba".encode() * 30_000)
    tokenizer = CharacterTokenizer.from_characters("ab\n漢")
    sequence = encode_text(tokenizer, [str(tmp_path / "a.txt")])
    text = "abé漢\nba" * 30_000
    assert sequence.ids.tolist() == tokenizer.encode(text).tolist()
    assert (sequence.tokens, sequence.characters, sequence.utf8_bytes) == (210_000, 210_000, len(text.encode()))
    assert (sequence.unknown_tokens, sequence.unknown) == (30_000, ("é",))
    assert "30,000 characters that the vocabulary does not know: é (U+00E9)" in sequence.notes[0]


def test_replaced_bytes_are_in_the_notes():
    tokenizer = CharacterTokenizer.from_characters("a\ufffd")
    sequence = encode_text(tokenizer, ["-"], "replace", stdin=io.BytesIO(b"a\xffa"))
    assert tokenizer.decode(sequence.ids) == "a\ufffda"
    assert "1 places" in sequence.notes[0]
    assert sequence.unknown_tokens == 0


def test_ids_cannot_be_written_to():
    sequence = encode_text(CharacterTokenizer.from_characters("ab"), ["-"], stdin=io.BytesIO(b"ab"))
    with pytest.raises(ValueError, match="read-only"):
        sequence.ids[0] = 0


def test_an_empty_text_is_refused():
    with pytest.raises(UserError, match="empty"):
        encode_text(CharacterTokenizer.from_characters("ab"), ["-"], stdin=io.BytesIO(b""))


WORDS = WordTokenizer(["<unk>", "<eos>", "the", "ring"])


def test_unknown_words_are_counted_and_what_they_cost_is_said(tmp_path):
    sequence = encode_text(WORDS, ["-"], stdin=io.BytesIO(b"The Ring\nthe Sword, the SHIELD\n"))
    assert sequence.ids.tolist() == [2, 3, 1, 2, 0, 2, 0, 1]
    assert (sequence.unknown_tokens, sequence.unknown) == (2, ("sword", "shield"))
    assert "2 words (25.0% of its tokens) that the vocabulary does not know: sword shield; each" in sequence.notes[0]


@pytest.mark.parametrize("size", [5, 100_000])
def test_a_text_in_chunks_of_any_size_is_encoded_as_the_whole(tmp_path, monkeypatch, size):
    monkeypatch.setattr("unrolled.sources.utf8.BLOCK_BYTES", size)
    text = "the ring, The Ring\n\n ring's\n" * 700 + "the rin"
    (tmp_path / "a.txt").write_text(text)
    subwords = BytePairTokenizer.trained([text], 270)
    for tokenizer in (WORDS, subwords):
        assert encode_text(tokenizer, [str(tmp_path / "a.txt")]).ids.tolist() == tokenizer.encode(text).tolist()


def test_records_end_in_the_end_of_each_tokenizer(tmp_path):
    (tmp_path / "a.csv").write_text('who,text\nSAM,the ring\nROSIE,"a\nb"\n')
    subwords = BytePairTokenizer.trained(["x"], 257)
    characters = CharacterTokenizer.from_characters("SAMROIEabtherg: in\n")
    settings = DataSettings(split="records", speaker_column="who")
    text = "SAM: the ring\nROSIE: a b\n"
    for tokenizer in (subwords, characters, WordTokenizer(["<unk>", "<eos>", "SAM:", "the"], tags=["SAM:"])):
        sequence = encode_text(tokenizer, [f"{tmp_path}/a.csv:text"], settings=settings)
        assert sequence.ids.tolist() == tokenizer.encode_lines(text).tolist()
        assert (sequence.characters, sequence.utf8_bytes) == (len(text), len(text))
        assert sequence.ids[-1] == (tokenizer.stoi["\n"] if tokenizer is characters else tokenizer.eos_id)
    assert subwords.decode(encode_text(subwords, [f"{tmp_path}/a.csv:text"], settings=settings).ids) == text


def test_a_text_without_a_word_cannot_be_measured():
    with pytest.raises(UserError, match="holds no word"):
        encode_text(WORDS, ["-"], stdin=io.BytesIO(b"?!\n"))

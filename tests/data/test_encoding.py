"""Stand-alone texts as tokens, against encoding the whole text at once."""

import io

import pytest

from unrolled.data.encoding import encode_text
from unrolled.errors import UserError
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

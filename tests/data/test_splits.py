"""Splits of a text against lists of its records and slices of its characters."""

import io
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.config import DataSettings
from unrolled.data.splits import SPLITS, draw_records, encode_split, split_text
from unrolled.data.spool import Spool
from unrolled.errors import UserError
from unrolled.text import WordTokenizer
from unrolled.text.characters import CharacterTokenizer

RECORDS = [f"record {number} of many\n" for number in range(47)]


def parts_of(tmp_path, chunks, valid=None, kind="word", **settings):
    with Spool(chunks, tmp_path) as text, Spool([valid or "x"], tmp_path) as valid_text:
        split = split_text(text, None if valid is None else valid_text, DataSettings(**settings), kind)
        return {name: list(part.chunks()) for name, part in split.parts().items()}, split.notes


def records(tmp_path, chunks=RECORDS, **settings):
    parts, notes = parts_of(tmp_path, chunks, split="records", **settings)
    return {name: "".join(part).splitlines(keepends=True) for name, part in parts.items()}, notes


@given(
    count=st.integers(10, 200),
    valid=st.floats(0.01, 0.5),
    test=st.one_of(st.just(0), st.floats(0.01, 0.49)),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_record_is_in_exactly_one_part_and_the_parts_have_their_shares(count, valid, test, seed):
    where = draw_records(count, valid, test, seed)
    counts = np.bincount(where, minlength=3)
    assert counts.sum() == count
    expected_test = max(1, round(count * test)) if test else 0
    assert counts[2] == expected_test
    assert counts[1] == min(max(1, round(count * valid)), count - expected_test - 1)
    assert counts[0] >= 1


def test_the_draw_is_that_of_sorted_random_numbers_and_never_changes():
    generator = random.Random(1337)
    keys = sorted((generator.random(), number) for number in range(10))
    order = [number for _, number in keys]
    expected = [
        SPLITS.index("valid") if order.index(n) < 2 else SPLITS.index("test") if order.index(n) < 5 else 0
        for n in range(10)
    ]
    assert draw_records(10, 0.2, 0.3, 1337).tolist() == expected == [0, 2, 2, 0, 1, 0, 2, 0, 0, 1]
    assert draw_records(10, 0.2, 0.3, 1338).tolist() != expected


def test_records_of_a_part_stay_in_the_order_of_the_text(tmp_path):
    parts, notes = records(tmp_path, valid_fraction=0.2, test_fraction=0.1, split_seed=5)
    assert {name: len(part) for name, part in parts.items()} == {"train": 33, "valid": 9, "test": 5}
    assert sorted([*parts["train"], *parts["valid"], *parts["test"]], key=RECORDS.index) == RECORDS
    for part in parts.values():
        assert part == sorted(part, key=RECORDS.index)
    assert notes == ("47 records: 33 to learn from, 9 to validate on, 5 to test.",)
    assert records(tmp_path, split_seed=6)[0] != records(tmp_path, split_seed=5)[0]


def test_without_a_test_fraction_there_is_no_test_part(tmp_path):
    parts, _ = records(tmp_path, test_fraction=0)
    assert list(parts) == ["train", "valid"]


def test_a_validation_text_of_its_own_leaves_all_records_for_training(tmp_path):
    parts, notes = records(tmp_path, valid="other\nrecords\n")
    assert (parts, notes) == ({"train": RECORDS, "valid": ["other\n", "records\n"]}, ())


@pytest.mark.parametrize("count", [1, 9])
def test_few_records_validate_on_themselves(tmp_path, count):
    parts, (note,) = records(tmp_path, RECORDS[:count])
    assert parts == {"train": RECORDS[:count], "valid": RECORDS[:count]}
    assert note.startswith(f"The text has only {count} record")


def test_by_position_words_are_split_at_the_end_of_a_line(tmp_path):
    text = "".join(RECORDS)
    parts, _ = parts_of(tmp_path, [text], valid_fraction=0.3)
    border = len(text) - round(0.3 * len(text))
    border += text[border:].index("\n") + 1
    assert "".join(parts["train"]) == text[:border]
    assert "".join(parts["valid"]) == text[border:]
    exact, _ = parts_of(tmp_path, [text], valid_fraction=0.3, kind="character")
    assert len("".join(exact["valid"])) == round(0.3 * len(text))


@pytest.mark.parametrize(("text", "at"), [("word " * 40 + "end", " "), ("x" * 100, "")])
def test_by_position_a_text_of_one_line_is_split_between_words_if_there_are_any(tmp_path, text, at):
    parts, _ = parts_of(tmp_path, [text], valid_fraction=0.5)
    train, valid = "".join(parts["train"]), "".join(parts["valid"])
    assert train + valid == text
    assert train.endswith(at)
    assert len(valid) >= len(text) // 4


def test_chunks_for_words_are_cut_at_line_ends(tmp_path):
    parts, _ = parts_of(tmp_path, ["one two\nthr", "ee four\n"] * 9, valid_fraction=0.5)
    assert all(chunk.endswith("\n") for chunk in parts["train"] + parts["valid"])


def encoded(part, **settings):
    stdin = io.BytesIO("".join(RECORDS).encode())
    settings = DataSettings(**{"split": "records", "valid_fraction": 0.2, **settings})
    return encode_split(TOKENIZER, ["-"], settings, part, stdin=stdin)


TOKENIZER = WordTokenizer(["<unk>", "<eos>", "record", "of", "many", *map(str, range(47))])


def test_one_part_is_encoded_as_training_would_split_the_text(tmp_path):
    parts, _ = records(tmp_path, valid_fraction=0.2)
    for name, expected in parts.items():
        text = encoded(name)
        assert TOKENIZER.decode(text.ids) == "".join(expected)
        assert text.characters == len("".join(expected))
    assert encoded("valid").content_sha256 == encoded("test").content_sha256
    assert "47 records: 33 to learn from" in encoded("valid").notes[0]


def test_a_part_that_there_is_not_says_why():
    cases = {"by position": {"split": "position"}, "test_fraction is 0": {"test_fraction": 0.0}}
    for words, settings in cases.items():
        with pytest.raises(UserError, match=words):
            encoded("test", **settings)
    with pytest.raises(UserError, match="too few records"):
        encode_split(
            CharacterTokenizer.from_characters("a\n"),
            ["-"],
            DataSettings(split="records"),
            "test",
            stdin=io.BytesIO(b"a\na\n"),
        )
    with pytest.raises(ValueError, match="split must be one of"):
        encoded("dev")

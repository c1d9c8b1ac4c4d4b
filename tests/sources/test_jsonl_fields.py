"""Fields of JSON Lines as text, compared with the objects that were written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import UserError
from unrolled.sources.jsonl_fields import FieldReader
from unrolled.sources.utf8 import Tally

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=9)


def values(text, field="text", speaker="", errors="strict", notes=None, tally=None):
    chunks = [text[i : i + 3] for i in range(0, len(text), 3)]
    reader = FieldReader(field, speaker, "posts.jsonl", errors, Tally() if tally is None else tally)
    return list(reader.values(chunks, [] if notes is None else notes))


def refusal(text, **options):
    with pytest.raises(UserError) as problem:
        values(text, **options)
    return str(problem.value)


@given(entries=st.lists(texts, min_size=1), ascii_only=st.booleans())
def test_a_written_field_comes_back_object_by_object(entries, ascii_only):
    lines = [json.dumps({"id": n, "text": entry}, ensure_ascii=ascii_only) for n, entry in enumerate(entries)]
    assert values("\n\n".join(lines) + "\n") == entries


def test_every_newline_is_a_line_feed():
    assert values('{"text": "a\\r\\nb\\rc\\nd"}') == ["a\nb\nc\nd"]


def test_objects_without_the_field_are_counted_and_noted():
    notes = []
    assert values('{"text": "a"}\n{"body": "b"}\n{"text": null}\n{"text": "c"}', notes=notes) == ["a", "c"]
    assert notes == ["2 objects of posts.jsonl have no 'text'; they are skipped."]


def test_a_field_that_no_object_has_lists_those_that_exist():
    assert "no field 'text'; its fields are: body, id, more." in refusal('{"body": "a", "id": 1}\n{"more": 2}')
    assert "no field 'who'; its fields are: text" in refusal('{"text": "a"}', speaker="who")
    assert "is empty" in refusal("\n\n")


def test_a_speaker_precedes_the_text_and_a_missing_one_is_noted():
    notes = []
    text = '{"text": " hi", "who": "SAM  G"}\n{"text": "ho", "who": null}\n{"text": "hey", "who": " "}'
    assert values(text, speaker="who", notes=notes) == ["SAM G: hi", "ho", "hey"]
    assert notes == ["2 records of posts.jsonl have no 'who'; they get no tag."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"text": "a"}\n{"text": b}', "line 2, column 10: Expecting value"),
        ('{"text": "a"', "line 1"),
        ('{"text": "a"}\n[1]', "line 2 is not a JSON object"),
        ('"a"', "line 1 is not a JSON object"),
        ('\n{"text": ["a"]}', "line 2: the field 'text' is not text but \\[\"a\"\\]"),
        ('{"text": 7}', "is not text but 7"),
        ("[" * 200_000, "line 1 cannot be read as JSON: it is nested more than 64 levels deep"),
        ('{"text": "a", "n": 1' + "0" * 5_000 + "}", "thousands of digits"),
    ],
)
def test_what_cannot_be_read_names_the_line(text, words):
    with pytest.raises(UserError, match=words):
        values(text)


def test_numbers_that_are_not_json_do_no_harm_in_a_field_that_nobody_reads():
    assert values('{"text": "a", "score": NaN, "n": [-Infinity, 1e999, -0, 1.5]}') == ["a"]


def test_half_a_surrogate_pair_is_refused_or_replaced_and_counted():
    text = '{"text": "\\ud83d\\ude00 a\\ud800b"}'
    assert "line 1 holds half of a surrogate pair" in refusal(text)
    tally = Tally()
    assert values(text, errors="replace", tally=tally) == ["\U0001f600 a\ufffdb"]
    assert tally.replaced == 1

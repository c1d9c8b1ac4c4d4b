"""Reading one field of a JSON Lines file, which has one object per line.

Blank lines are ignored. Objects in which the field is missing or null are counted and noted. A line that is not a JSON
object, or a field that is not text, is an error that names the line.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from unrolled.errors import UserError
from unrolled.sources.csv_columns import lines_of, listing
from unrolled.sources.speakers import missing_note, tagged
from unrolled.sources.utf8 import Tally
from unrolled.strict_json import JsonProblem, lenient_number, parse_json

ENDINGS = (".jsonl", ".ndjson")
SURROGATE = re.compile("[\ud800-\udfff]")
MAX_FIELDS_REMEMBERED = 1_000


class FieldReader:
    """Reads the texts of one field, each preceded by its speaker if `speaker` is given.

    Args:
        field: the field's name.
        speaker: the speaker's field; empty: none.
        name: the file's name in messages.
        encoding_errors: "strict" or "replace", for lone surrogates, which JSON can represent and text cannot.
        tally: its `replaced` is increased by the number of replaced surrogates.
    """

    def __init__(self, field: str, speaker: str, name: str, encoding_errors: str, tally: Tally) -> None:
        self._field, self._speaker, self._name = field, speaker, name
        self._encoding_errors, self._tally = encoding_errors, tally
        self._missing: Counter[str] = Counter()
        self._seen: dict[str, None] = {}  # fields, in order

    def values(self, text: Iterable[str], notes: list[str]) -> Iterator[str]:
        """Yield the texts of the field.

        Raises:
            UserError: a line cannot be read, or no object has the field; the message lists the existing fields.
        """
        for number, entry in objects(text, self._name):
            self._remember(entry)
            value = entry.get(self._field)
            if value is None:
                self._missing["text"] += 1
                continue
            yield self._with_speaker(entry, self._clean(self._text(value, self._field, number), number), number)
        if not self._seen:
            raise UserError(f"{self._name} is empty: it has no JSON object with a field.")
        self._check_exists(self._field)
        self._check_exists(self._speaker)
        if self._missing["text"]:
            notes.append(
                f"{self._missing['text']:,} objects of {self._name} have no {self._field!r}; they are skipped."
            )
        notes += missing_note(self._missing, self._speaker, self._name)

    def _with_speaker(self, entry: dict[str, Any], text: str, number: int) -> str:
        if not self._speaker:
            return text
        value = entry.get(self._speaker)
        speaker = "" if value is None else self._text(value, self._speaker, number)
        return tagged(self._clean(speaker, number), text, self._missing)

    def _check_exists(self, field: str) -> None:
        if field and field not in self._seen:
            raise UserError(f"{self._name} has no field {field!r}; its fields are: {listing(list(self._seen))}.")

    def _remember(self, entry: dict[str, Any]) -> None:
        wanted = {name: None for name in (self._field, self._speaker) if name in entry}
        self._seen |= dict.fromkeys(entry) if len(self._seen) < MAX_FIELDS_REMEMBERED else wanted

    def _text(self, value: Any, field: str, number: int) -> str:
        if not isinstance(value, str):
            raise UserError(
                f"{self._name}, line {number:,}: the field {field!r} is not text but {json.dumps(value):.60}."
            )
        return value

    def _clean(self, text: str, number: int) -> str:
        found = len(SURROGATE.findall(text))
        if found and self._encoding_errors == "strict":
            raise UserError(
                f"{self._name}, line {number:,} holds half of a surrogate pair, not a whole character; correct it, or "
                "use --encoding-errors replace."
            )
        self._tally.replaced += found
        return SURROGATE.sub("\ufffd", text).replace("\r\n", "\n").replace("\r", "\n")


def objects(text: Iterable[str], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number, from 1, and the object of each line that is not blank.

    Raises:
        UserError: a line is not a JSON object.
    """
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line, number_hook=lenient_number)  # NaN is harmless in a field that is not read
        except JsonProblem as problem:
            raise UserError(_not_json(name, number, str(problem))) from None
        if not isinstance(entry, dict):
            raise UserError(f"{name}, line {number:,} is not a JSON object; JSON Lines has one object per line.")
        yield number, entry


def _not_json(name: str, number: int, problem: str) -> str:
    """Return the message for an unreadable line; the parser saw that line alone, as its line 1."""
    where = problem.removeprefix("is not JSON (line 1, ")
    if where == problem:
        return f"{name}, line {number:,} cannot be read as JSON: it {problem}."
    return f"{name} is not JSON Lines: line {number:,}, {where.removesuffix(')')}."

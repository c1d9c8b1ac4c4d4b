"""The history as a file: CSV that a spreadsheet can open without running anything, and JSON lines with nothing changed.

A spreadsheet takes a cell that begins with = + - @ (or a tab or line break before them) for a formula, and a formula
can send what stands around it elsewhere (https://owasp.org/www-community/attacks/CSV_Injection). Such a text gets an
apostrophe before it, which spreadsheets read as "this is text"; JSON lines hold the text itself.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

from unrolled.web.history.history import Entry

COLUMNS = (
    *("id", "created", "source", "model", "prompt", "text"),
    *("finish_reason", "tokens", "seconds", "seed", "settings"),
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def as_csv(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a CSV file, a piece an entry: UTF-8 with a byte order mark, by which spreadsheets know it."""
    yield "\ufeff" + _csv_line(COLUMNS)
    for entry in entries:
        values = _values(entry)
        settings = json.dumps(values["settings"], ensure_ascii=False)
        yield _csv_line([safe_cell(value) for value in (values | {"settings": settings}).values()])


def as_json_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield one JSON object a line."""
    for entry in entries:
        yield json.dumps(_values(entry), ensure_ascii=False) + "\n"


def safe_cell(value: Any) -> Any:
    """Return a value of which no spreadsheet makes a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = value.replace("\0", "\ufffd")
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def time_words(created: float) -> str:
    """Return a time as `2026-11-22T07:17:31Z`."""
    return datetime.fromtimestamp(created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _values(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in COLUMNS} | {"created": time_words(entry.created)}


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()

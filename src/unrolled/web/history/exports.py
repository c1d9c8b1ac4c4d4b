"""Exports of the history: CSV that is safe to open in a spreadsheet, and JSON lines with unchanged text.

A spreadsheet treats a cell that begins with = + - @ (or a tab or line break before them) as a formula, and a formula
can send nearby cells elsewhere (https://owasp.org/www-community/attacks/CSV_Injection). Such a text is prefixed with an
apostrophe, which marks it as text for spreadsheets.
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
    """Yield a CSV file, one chunk per entry, with the byte order mark by which spreadsheets recognize UTF-8."""
    yield "\ufeff" + _csv_line(COLUMNS)
    for entry in entries:
        values = _values(entry)
        settings = json.dumps(values["settings"], ensure_ascii=False)
        yield _csv_line([safe_cell(value) for value in (values | {"settings": settings}).values()])


def as_json_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield one JSON object per line."""
    for entry in entries:
        yield json.dumps(_values(entry), ensure_ascii=False) + "\n"


def safe_cell(value: Any) -> Any:
    """Return a value that no spreadsheet treats as a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = value.replace("\0", "\ufffd")
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def time_words(created: float) -> str:
    """Format a time as `2026-11-22T07:17:31Z`."""
    return datetime.fromtimestamp(created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _values(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in COLUMNS} | {"created": time_words(entry.created)}


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()

"""An entry of the history, and its row in the table.

A file may be damaged: SQLite stores any type in any column. A row is therefore read as far as possible: a value of the
wrong type is replaced by a neutral one, and the entry is marked as damaged.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from unrolled.strict_json import JsonProblem, parse_json

COLUMNS = "id, created, source, model, prompt, text, finish_reason, tokens, seconds, seed, settings"
_LATEST = 253_402_300_799.0  # the end of the year 9999, the last representable date


@dataclass(frozen=True)
class Entry:
    """A sample and how it was generated. `created` is in seconds since 1970 (UTC); `id` is 0 before it is stored."""

    created: float
    source: str  # "page" or "api"
    model: str
    prompt: str
    text: str
    finish_reason: str
    tokens: int
    seconds: float
    seed: int
    settings: dict[str, Any]
    id: int = 0
    damaged: bool = False  # some values could not be read

    @property
    def size(self) -> int:
        """Its approximate number of characters."""
        return len(self.prompt) + len(self.text) + 1_000


def row_of(entry: Entry) -> tuple[Any, ...]:
    """Return the values of an entry in the order of `COLUMNS`, without the id."""
    return (
        *(entry.created, entry.source, entry.model, entry.prompt, entry.text, entry.finish_reason),
        *(entry.tokens, entry.seconds, entry.seed, json.dumps(entry.settings)),
    )


def entry_of(row: tuple[Any, ...]) -> Entry:
    """Return the entry of a row with the columns `COLUMNS`."""
    identity, created, *texts, tokens, seconds, seed, settings = row
    values = [
        *(_seconds(created), *(value if isinstance(value, str) else None for value in texts)),
        *(_count(tokens), _seconds(seconds), _count(seed), _settings(settings)),
    ]
    neutral = (0.0, *("" for _ in texts), 0, 0.0, 0, {})
    known = (default if value is None else value for value, default in zip(values, neutral, strict=True))
    return Entry(*known, id=identity, damaged=None in values)


def _seconds(value: Any) -> float | None:
    is_time = isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= _LATEST
    return float(value) if is_time else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _settings(value: Any) -> dict[str, Any] | None:
    try:
        settings = parse_json(value) if isinstance(value, str) else None
    except JsonProblem:
        return None
    return settings if isinstance(settings, dict) else None

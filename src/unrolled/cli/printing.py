"""Printing results and remarks: text without control characters, JSON without NaN, plain two-column tables."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from typing import Any

# C0 and C1 control characters except tab and newline. A model can learn terminal codes that move the cursor or set a
# title.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Replace control characters, and surrogates that no terminal can show, with U+FFFD."""
    return CONTROL.sub("\ufffd", text).encode("utf-8", "replace").decode("utf-8")


def print_json(value: Any) -> None:
    """Print a JSON object to standard output; numbers that JSON cannot represent become null."""
    print(json.dumps(_strict(value), ensure_ascii=True, allow_nan=False, indent=2))


def remark(text: str) -> None:
    """Print a line to standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def print_rows(rows: Sequence[tuple[str, str]], file: Any = None) -> None:
    """Print two columns, the second one aligned."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name.ljust(width)}  {printable(value)}", file=sys.stdout if file is None else file)


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _strict(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(entry) for entry in value]
    return value

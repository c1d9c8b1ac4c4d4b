"""A strict reader for untrusted JSON (RFC 8259): UTF-8, finite numbers, bounded depth, a single exception.

Python's own reader accepts `NaN` and `Infinity`, turns `1e999` into infinity, and raises RecursionError on deeply
nested input. Here each of these is a `JsonProblem`, whose message is a clause to put after the name of the file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

MAX_DEPTH = 64  # nested lists and objects; our own files need five
_STRING_OR_BRACKET = re.compile(
    r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL
)  # an unterminated string extends to the end
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}


class JsonProblem(ValueError):
    """The text is not acceptable JSON; the message is a clause such as `is not JSON (line 1, column 2: ...)`."""


def parse_json(
    content: bytes | str,
    *,
    pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    number_hook: Callable[[str], Any] | None = None,
) -> Any:
    """Return the value of a JSON text.

    Args:
        content: the text, or its UTF-8 bytes (a byte order mark is skipped).
        pairs_hook: builds the value of each object from its (name, value) pairs; by default a dict.
        number_hook: builds the value of each number, `NaN` and `Infinity` included, from its text; by default numbers
            must be finite.

    Raises:
        JsonProblem: the text is not JSON, holds a number that is not finite, or is nested deeper than `MAX_DEPTH`.
    """
    hooks: dict[str, Any] = {
        "object_pairs_hook": pairs_hook,
        "parse_constant": _refuse_constant if number_hook is None else number_hook,
        "parse_float": _finite if number_hook is None else number_hook,
        "parse_int": number_hook,
    }
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        _check_depth(text)
        return json.loads(text, **hooks)
    except JsonProblem:
        raise
    except json.JSONDecodeError as problem:
        where = f"line {problem.lineno:,}, column {problem.colno:,}"
        raise JsonProblem(f"is not JSON ({where}: {problem.msg})") from None
    except UnicodeDecodeError:
        raise JsonProblem("is not JSON (its text is not UTF-8)") from None
    except ValueError:  # an integer with more digits than Python converts
        raise JsonProblem("holds a number of thousands of digits") from None
    except RecursionError:
        raise _too_deep() from None


def lenient_number(text: str) -> int | float:
    """Parse a number as Python does, `nan` and `inf` included; a `number_hook` for values that are validated later."""
    return int(text) if text.lstrip("-").isdigit() else float(text)


def is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogates, which JSON can represent and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the parser recurses into it; texts with few brackets need no scan."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        depth += _STEP.get(token[0], 0)
        if depth > MAX_DEPTH:
            raise _too_deep()


def _too_deep() -> JsonProblem:
    return JsonProblem(f"is nested more than {MAX_DEPTH} levels deep")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonProblem(f"holds a number that is too large ({text:.30})")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise JsonProblem(f"holds {name}, which is not a JSON number")

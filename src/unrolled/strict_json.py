"""The one reader of JSON (RFC 8259) that others wrote: UTF-8, finite numbers, bounded depth, one kind of error.

Python's own reader accepts `NaN` and `Infinity`, turns `1e999` into infinity, and ends in a RecursionError where a file
is nested too deeply. Here each of these is a `JsonProblem`, whose text is a clause that follows the name of the file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

MAX_DEPTH = 64  # lists and objects within one another; no file of ours has more than five
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)  # an open string reaches to the end
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}


class JsonProblem(ValueError):
    """A text is not JSON that can be used; the message is a clause such as `is not JSON (line 1, column 2: ...)`."""


def parse_json(
    content: bytes | str,
    *,
    pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    number_hook: Callable[[str], Any] | None = None,
) -> Any:
    """Return the value of a JSON text.

    Args:
        content: the text, or its bytes in UTF-8 (a byte order mark is passed over).
        pairs_hook: makes a value of each object's (name, value) pairs, instead of a dict.
        number_hook: makes a value of each number's text, `NaN` and `Infinity` included, instead of a finite number.

    Raises:
        JsonProblem: it is not JSON, holds a number that is not finite, or is nested more than `MAX_DEPTH` levels.
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
    except ValueError:  # an integer of more digits than Python converts
        raise JsonProblem("holds a number of thousands of digits") from None
    except RecursionError:
        raise _too_deep() from None


def lenient_number(text: str) -> int | float:
    """Return a number as Python reads it, `nan` and `inf` included: a hook for values that are validated later."""
    return int(text) if text.lstrip("-").isdigit() else float(text)


def is_unicode(text: str) -> bool:
    """Tell whether a text is free of lone surrogates, which JSON can hold and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the parser walks into it; most texts have too few brackets to need a look."""
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

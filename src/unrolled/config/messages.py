"""What is wrong with settings, in the words of people who do not know Python: value, rule, way out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from unrolled.config.listing import setting_names

MAX_PROBLEMS = 20  # that one message lists
RULES = {  # in the words of people who do not know Python, by pydantic's names of errors
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "should be a whole number"),
    "int_parsing_size": "should be a whole number of fewer digits",
    **dict.fromkeys(("float_type", "float_parsing"), "should be a number"),
    "string_type": "should be a text",
    "string_unicode": "should be a text without halves of surrogate pairs",
    "string_too_short": "should not be empty",
    "string_too_long": "should have at most {max_length:,} characters",
    "tuple_type": "should be a text or a list of texts",
    "too_long": "should have at most {max_length:,} texts, not {actual_length:,}",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "should be settings, each with its name"),
}


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return 'did you mean ...' with the nearest of the known names, or a list of all when none is near."""
    known = list(known)
    near = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]  # the section alone is wrong
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def validation_problems(error: ValidationError, known: list[str] | None = None) -> list[str]:
    """Return one plain clause for each thing that pydantic found wrong; `known` names are suggested."""
    known = setting_names() if known is None else known
    found = error.errors(include_url=False)
    problems = [_problem(item, known) for item in found[:MAX_PROBLEMS]]
    return problems + [f"{len(found) - MAX_PROBLEMS:,} more problems"] * (len(found) > MAX_PROBLEMS)


def sentence(problems: list[str]) -> str:
    """Return the message for these problems: a sentence for one, a list for several."""
    if len(problems) == 1:
        return f"The settings do not fit: {problems[0]}."
    return "The settings do not fit:\n" + "\n".join(f"  - {problem}" for problem in problems)


def shown(value: Any, limit: int = 60) -> str:
    """Write a value as a user knows it: a text in quotes, all else as JSON."""
    if isinstance(value, int) and value.bit_length() > 1_000:  # Python refuses to write thousands of digits
        return "a number of hundreds of digits"
    text = repr(value) if isinstance(value, str) else json.dumps(_for_json(value), ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _problem(item: ErrorDetails, known: list[str]) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"there is no setting named {shown(name)} ({suggestion(name, known)})"
    if item["type"] == "value_error" and isinstance(item["input"], Mapping | BaseModel):  # of several settings
        return item["msg"].removeprefix("Value error, ")
    kind = item["type"]
    rule = RULES[kind].format(**item.get("ctx", {})) if kind in RULES else item["msg"]
    if kind in ("int_type", "float_type") and isinstance(item["input"], str):  # where nothing is converted
        rule += " without quotes"
    rule = rule.removeprefix("Input ").removeprefix("Value error, ")
    return f"{name or 'the value'} = {shown(item['input'])} {rule[0].lower()}{rule[1:]}"


def _for_json(value: Any, depth: int = 3) -> Any:
    """Return the beginning of a value, which is all that is shown of it."""
    if isinstance(value, str):
        return value[:100]
    if depth and isinstance(value, Mapping):
        return {str(name)[:100]: _for_json(part, depth - 1) for name, part in islice(value.items(), 30)}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_for_json(part, depth - 1) for part in islice(value, 30)]
    return value if value is None or isinstance(value, bool | int | float) else "..."

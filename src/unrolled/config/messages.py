"""Messages about invalid settings: the value, the rule it breaks and what to do, without any Python in them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from unrolled.config.listing import setting_names

MAX_PROBLEMS = 20  # listed in one message
RULES = {  # by pydantic's error type
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "should be a whole number"),
    "int_parsing_size": "should be a whole number of fewer digits",
    **dict.fromkeys(("float_type", "float_parsing"), "should be a number"),
    "string_type": "should be text",
    "string_unicode": "should be text without unpaired surrogates",
    "string_too_short": "should not be empty",
    "string_too_long": "should have at most {max_length:,} characters",
    "tuple_type": "should be text or a list of texts",
    "too_long": "should have at most {max_length:,} texts, not {actual_length:,}",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "should be a group of named settings"),
}


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `did you mean ...?` with the closest known names, or a list of all names if none is close."""
    known = list(known)
    near = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]  # only the section is wrong
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name, such as `There is no preset named 'storys'; did you mean stories?`"""
    hint = suggestion(name, known)
    return f"There is no {what} named {name!r}; {hint}{'' if hint.endswith('?') else '.'}"


def validation_problems(error: ValidationError, known: list[str] | None = None) -> list[str]:
    """Return a clause for each problem that pydantic found; suggestions for unknown names come from `known`."""
    known = setting_names() if known is None else known
    found = error.errors(include_url=False)
    problems = [_problem(item, known) for item in found[:MAX_PROBLEMS]]
    return problems + [f"{len(found) - MAX_PROBLEMS:,} more problems"] * (len(found) > MAX_PROBLEMS)


def sentence(problems: list[str]) -> str:
    """Return the message for these problems: one sentence, or a list if there are several."""
    if len(problems) == 1:
        return f"The settings are not valid: {problems[0]}."
    return "The settings are not valid:\n" + "\n".join(f"  - {problem}" for problem in problems)


def shown(value: Any, limit: int = 60) -> str:
    """Format a value for a message: text in quotes, anything else as JSON."""
    if isinstance(value, int) and value.bit_length() > 1_000:  # Python refuses to write thousands of digits
        return "a number of hundreds of digits"
    text = repr(value) if isinstance(value, str) else json.dumps(_for_json(value), ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _problem(item: ErrorDetails, known: list[str]) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"there is no setting named {shown(name)} ({suggestion(name, known)})"
    if item["type"] == "value_error" and isinstance(
        item["input"], Mapping | BaseModel
    ):  # the problem concerns several settings
        return item["msg"].removeprefix("Value error, ")
    kind = item["type"]
    rule = RULES[kind].format(**item.get("ctx", {})) if kind in RULES else item["msg"]
    if kind in ("int_type", "float_type") and isinstance(item["input"], str):  # JSON and TOML values are not converted
        rule += " without quotes"
    rule = rule.removeprefix("Input ").removeprefix("Value error, ")
    return f"{name or 'the value'} = {shown(item['input'])} {rule[0].lower()}{rule[1:]}"


def _for_json(value: Any, depth: int = 3) -> Any:
    """Return the beginning of a value, enough for the part that a message shows."""
    if isinstance(value, str):
        return value[:100]
    if depth and isinstance(value, Mapping):
        return {str(name)[:100]: _for_json(part, depth - 1) for name, part in islice(value.items(), 30)}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_for_json(part, depth - 1) for part in islice(value, 30)]
    return value if value is None or isinstance(value, bool | int | float) else "..."

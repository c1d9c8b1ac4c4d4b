"""The fields of the form, and their bounded reading: one table drives the page and guards the server.

Values come as text from a form or as JSON from a script; JSON numbers are kept as their text until here, so both take
one path and nothing (`1e999`, `NaN`, a thousand digits) is turned into a number before it was found to be reasonable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unrolled.errors import UserError
from unrolled.web.settings import LARGEST_EXACT_INTEGER, WebSettings

_NUMBER = re.compile(r"[+-]?(\d{1,25}(\.\d{0,25})?|\.\d{1,25})([eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,25}", re.ASCII)


@dataclass(frozen=True)
class NumberField:
    """A numeric field: its name in the form, its words on the page, its default (None: stays empty) and its range."""

    name: str
    label: str
    hint: str
    default: float | int | None
    low: float
    high: float
    step: float = 1.0
    whole: bool = True


@dataclass(frozen=True)
class Preset:
    """Decoding settings under a name, set by one button; fields that it does not name keep what they hold."""

    name: str
    hint: str
    values: dict[str, float | int]


@dataclass(frozen=True)
class WriteRequest:
    """What a valid form asks for. `sampling` holds settings by their names in `SamplingSettings`, without the seed."""

    model_id: str
    prompt: str
    sampling: dict[str, float | int]
    seed: int | None


class FormProblems(UserError):
    """Fields that cannot be used: `fields` maps each name to one plain sentence."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(" ".join(fields.values()))
        self.fields = dict(fields)


class NumberText(str):
    """The text of a number in JSON, so that `5` and `"5"` stay apart where a text is due."""


PRESETS = (
    Preset(
        "safe",
        "stays close to what it knows best",
        {"temperature": 0.5, "top_k": 20, "top_p": 0.95, "min_p": 0, "repetition_penalty": 1},
    ),
    Preset(
        "balanced",
        "sense and surprise in equal parts",
        {"temperature": 0.8, "top_k": 40, "top_p": 1, "min_p": 0, "repetition_penalty": 1},
    ),
    Preset(
        "wild",
        "takes the unlikely turnings",
        {"temperature": 1.1, "top_k": 0, "top_p": 1, "min_p": 0.02, "repetition_penalty": 1},
    ),
)


def number_fields(settings: WebSettings) -> tuple[NumberField, ...]:
    """Return the numeric fields in the order of the page."""
    penalty, window = settings.max_repetition_penalty, settings.max_repetition_window
    length = min(400, settings.max_tokens)
    return (
        NumberField("max_tokens", "Length", "Characters to write, at most.", length, 1, settings.max_tokens, 100),
        NumberField(
            "temperature", "Temperature", "Low is careful, high is daring.",
            0.8, 0, settings.max_temperature, 0.1, whole=False,
        ),
        NumberField("top_k", "Top k", "Only the k likeliest; 0 is all.", 40, -1, settings.max_top_k, 5),
        NumberField(
            "top_p", "Top p", "Only the likeliest, up to this share.",
            1, 0, 1, 0.05, whole=False,
        ),
        NumberField(
            "min_p", "Min p", "Drop those far below the best.",
            0, 0, 1, 0.01, whole=False,
        ),
        NumberField(
            "repetition_penalty", "Repetition penalty", "Above 1 avoids repeats; 1 is off.",
            1, 0.1, penalty, 0.05, whole=False,
        ),
        NumberField(
            "repetition_window", "Repetition window", "How far back it looks; 0 is all.",
            200, 0, window, 50,
        ),
        NumberField("seed", "Seed", "Same seed, same text.", None, 0, LARGEST_EXACT_INTEGER),
    )  # fmt: skip


def read_fields(
    values: Mapping[str, Sequence[object]], settings: WebSettings, model_ids: Sequence[str]
) -> WriteRequest:
    """Read a submitted form; an absent or empty field takes its default.

    Args:
        values: all values sent under each name, as text, `NumberText`, or whatever else JSON held.
        settings: the limits.
        model_ids: the ids that the server offers; the first is the default.

    Raises:
        FormProblems: with one sentence for each field that cannot be used.
    """
    numbers = number_fields(settings)
    problems = _misplaced(values, ("model", "prompt", *(field.name for field in numbers)))
    single = {name: sent[0] for name, sent in values.items() if sent and name not in problems}
    model_id = _guarded(problems, "model", lambda: _model_id(single.get("model"), model_ids))
    prompt = _guarded(problems, "prompt", lambda: _prompt(single.get("prompt"), settings.max_prompt_characters))
    read = {
        field.name: _guarded(problems, field.name, lambda field=field: read_number(single.get(field.name), field))
        for field in numbers
    }
    if problems:
        raise FormProblems(problems)
    seed = read.pop("seed")
    return WriteRequest(model_id, prompt, read, seed)


def read_number(value: object, field: NumberField) -> float | int | None:
    """Return the number that a field holds, or its default where it is empty.

    Raises:
        UserError: it is no number of the field's kind, or out of its range.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return field.default
    text = value.strip() if isinstance(value, str) else ""
    if not (_WHOLE if field.whole else _NUMBER).fullmatch(text):
        raise UserError(_rule(field, value))
    number = int(text) if field.whole else float(text)
    if not field.low <= number <= field.high:  # `1e999`, infinite by now, is above every range
        raise UserError(_rule(field, value))
    return number


def json_fields(body: bytes) -> dict[str, list[object]]:
    """Read a JSON object into name -> all values sent under it; numbers stay text.

    Raises:
        UserError: the body is no JSON object.
    """
    try:
        pairs = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_Pairs,
            parse_int=NumberText,
            parse_float=NumberText,
            parse_constant=NumberText,
        )
    except (ValueError, RecursionError):
        raise UserError("The body is not readable as JSON; send one object in UTF-8.") from None
    if not isinstance(pairs, _Pairs):
        raise UserError('The body must be one JSON object, such as {"prompt": "Once upon a time"}.')
    fields: dict[str, list[object]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def plain_number(number: float | int | None) -> str:
    """Return a number as a person would type it: `1` for 1.0, nothing for None."""
    return "" if number is None else f"{number:.12g}" if isinstance(number, float) else str(number)


def well_formed(text: str) -> str:
    """Return the text with lone surrogates, which no encoding can carry, as U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Pairs(list):
    """A JSON object as its (name, value) pairs, so that a name sent twice is seen."""


def _misplaced(values: Mapping[str, Sequence[object]], known: Sequence[str]) -> dict[str, str]:
    problems = {}
    for name, sent in values.items():
        if name not in known:
            problems[name] = f"There is no field named {_shown(name)}; known are {', '.join(known)}."
        elif len(sent) > 1:
            problems[name] = f"The field {name} was sent {len(sent)} times; send it once."
    return problems


def _guarded(problems: dict[str, str], name: str, read):
    """Return what `read` returns, or note its complaint under the field's name (unless one is noted already)."""
    try:
        return read()
    except UserError as error:
        problems.setdefault(name, str(error))
        return None


def _model_id(value: object, model_ids: Sequence[str]) -> str:
    if value is None or value == "":
        return model_ids[0]
    if not isinstance(value, str) or value not in model_ids:
        raise UserError(f"There is no model {_shown(value)}; choose one of {', '.join(model_ids)}.")
    return value


def _prompt(value: object, max_characters: int) -> str:
    """Return the prompt with the form's CR LF line ends as LF and nothing in it that cannot be encoded."""
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, NumberText):
        raise UserError("The prompt must be a text.")
    text = well_formed(value.replace("\r\n", "\n").replace("\r", "\n"))
    if len(text) > max_characters:
        raise UserError(
            f"The prompt has {len(text):,} characters; at most {max_characters:,} are read. Keep its last part."
        )
    return text


def _rule(field: NumberField, value: object) -> str:
    kind = "whole number" if field.whole else "number"
    low, high = plain_number(field.low), plain_number(field.high)
    return f"{field.label} must be a {kind} from {low} to {high}, not {_shown(value)}."


def _shown(value: object, limit: int = 30) -> str:
    if not isinstance(value, str):
        return {list: "a list", _Pairs: "an object", bool: "true or false"}.get(type(value), "a file")
    text = well_formed(value)
    return f"“{text if len(text) <= limit else text[:limit] + '…'}”"

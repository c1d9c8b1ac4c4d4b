"""Validates what the page sends; the fields themselves are in `form_fields`.

Values arrive as text from a form or as JSON from a script. JSON numbers stay text until here, so that both take the
same path, and nothing (`1e999`, `NaN`, a thousand digits) is converted to a number before it has been validated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from unrolled.errors import UserError
from unrolled.serving.request import GenerationRequest
from unrolled.serving.settings import WebSettings
from unrolled.text.unicode import well_formed
from unrolled.web.json_object import read_object
from unrolled.web.pages.form_fields import (
    STOP,
    UNKNOWN,
    NumberField,
    field_names,
    lines_of,
    number_fields,
    plain_number,
)

_NUMBER = re.compile(r"[+-]?(\d{1,25}(\.\d{0,25})?|\.\d{1,25})([eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,25}", re.ASCII)


class FormProblems(UserError):
    """Invalid fields: `fields` maps each name to one sentence."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(" ".join(fields.values()))
        self.fields = dict(fields)


class NumberText(str):
    """The text of a JSON number, so that `5` and `"5"` remain distinct where a string is required."""


def read_fields(
    values: Mapping[str, Sequence[object]], settings: WebSettings, model_ids: Sequence[str]
) -> GenerationRequest:
    """Read a submitted form; an absent or empty field leaves the model's own setting.

    Args:
        values: all values sent under each name, as text, `NumberText`, or any other JSON value.
        settings: the limits.
        model_ids: the ids that the server offers; the first is the default.

    Raises:
        FormProblems: with one sentence for each invalid field.
    """
    problems = _misplaced(values, ("model", "prompt", *field_names(settings)))
    single = {name: sent[0] for name, sent in values.items() if sent and name not in problems}
    model_id = _guarded(problems, "model", lambda: _model_id(single.get("model"), model_ids))
    prompt = _guarded(problems, "prompt", lambda: _prompt(single.get("prompt"), settings.max_prompt_characters))
    sampling = {
        field.name: _guarded(problems, field.name, lambda field=field: read_number(single.get(field.name), field))
        for field in number_fields(settings)
    }
    sampling[STOP.name] = _guarded(problems, STOP.name, lambda: _stops(single.get(STOP.name), settings))
    sampling[UNKNOWN.name] = _guarded(problems, UNKNOWN.name, lambda: _unknown(single.get(UNKNOWN.name)))
    if problems:
        raise FormProblems(problems)
    seed = sampling.pop("seed")
    given = {name: value for name, value in sampling.items() if value is not None}
    return GenerationRequest(model_id, prompt, given, seed)


def read_number(value: object, field: NumberField) -> float | int | None:
    """Return the number in a field, or None if it is empty.

    Raises:
        UserError: it is not a number of the field's kind, or out of range.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    text = value.strip() if isinstance(value, str) else ""
    if not (_WHOLE if field.whole else _NUMBER).fullmatch(text):
        raise UserError(_rule(field, value))
    number = int(text) if field.whole else float(text)
    if not field.low <= number <= field.high:  # `1e999` is infinite here, above every range
        raise UserError(_rule(field, value))
    return number


def json_fields(body: bytes) -> dict[str, list[object]]:
    """Read a JSON object into a dict from each name to all values sent under it; numbers stay text.

    Raises:
        UserError: the body is not a JSON object.
    """
    fields: dict[str, list[object]] = {}
    for name, value in read_object(body, _Pairs, NumberText):
        fields.setdefault(name, []).append(value)
    return fields


class _Pairs(list):
    """A JSON object as its (name, value) pairs, which keeps names that were sent twice."""


def _misplaced(values: Mapping[str, Sequence[object]], known: Sequence[str]) -> dict[str, str]:
    problems = {}
    for name, sent in values.items():
        if name not in known:
            problems[name] = f"There is no field named {_shown(name)}; known are {', '.join(known)}."
        elif len(sent) > 1:
            problems[name] = f"The field {name} was sent {len(sent)} times; send it once."
    return problems


def _guarded(problems: dict[str, str], name: str, read):
    """Return the result of `read`, or record its error under the field's name (unless it has one already)."""
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
    """Return the prompt with CR LF and CR as LF, and without characters that cannot be encoded."""
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, NumberText):
        raise UserError("The prompt must be text.")
    text = well_formed(value.replace("\r\n", "\n").replace("\r", "\n"))
    if len(text) > max_characters:
        raise UserError(
            f"The prompt has {len(text):,} characters; at most {max_characters:,} are allowed. Keep the last part."
        )
    return text


def _stops(value: object, settings: WebSettings) -> tuple[str, ...] | None:
    """Return the stop strings, from a JSON list or from the lines of a form field; None: the model's own."""
    if value is None:
        return None
    texts = lines_of(value) if isinstance(value, str) and not isinstance(value, NumberText) else value
    if not isinstance(texts, list) or not all(type(text) is str and text for text in texts):
        raise UserError("The stop strings must be text, one per line, and not empty.")
    if len(texts) > settings.max_stops:
        raise UserError(f"There are {len(texts)} stop strings; at most {settings.max_stops} are allowed.")
    if max(map(len, texts), default=0) > settings.max_stop_characters:
        raise UserError(f"A stop string is longer than {settings.max_stop_characters} characters; shorten it.")
    return tuple(well_formed(text) for text in texts)


def _unknown(value: object) -> str | None:
    if value is None or value == "":
        return None
    known = [name for name, _ in UNKNOWN.choices]
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{UNKNOWN.label} must be {' or '.join(known)}, not {_shown(value)}.")
    return value


def _rule(field: NumberField, value: object) -> str:
    kind = "whole number" if field.whole else "number"
    low, high = plain_number(field.low), plain_number(field.high)
    return f"{field.label} must be a {kind} from {low} to {high}, not {_shown(value)}."


def _shown(value: object, limit: int = 30) -> str:
    if not isinstance(value, str):
        return {list: "a list", _Pairs: "an object", bool: "true or false"}.get(type(value), "a file")
    text = well_formed(value)
    return f"“{text if len(text) <= limit else text[:limit] + '…'}”"

"""The decoding settings as fields of the page: one table that both renders the form and bounds what it accepts.

A field has no default: its initial value, and its meaning when empty, is the chosen model's own setting. In hints,
UNITS stands for the kind of the model's tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unrolled.config import SamplingSettings, sampling_range
from unrolled.serving.settings import LARGEST_EXACT_INTEGER, WebSettings

UNITS = {"character": "characters", "word": "words"}  # other kinds: tokens
_ESCAPE = re.compile(r"\\([nrt\\])")
_MEANT = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


@dataclass(frozen=True)
class NumberField:
    """A numeric field: its name in the form, its label and hint, and its range. Advanced ones are collapsed."""

    name: str
    label: str
    hint: str
    low: float
    high: float
    step: float = 1.0
    whole: bool = True
    advanced: bool = False


@dataclass(frozen=True)
class ChoiceField:
    """A field with a few values, each with its label."""

    name: str
    label: str
    hint: str
    choices: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LinesField:
    """A field of several strings, one per line."""

    name: str
    label: str
    hint: str


@dataclass(frozen=True)
class SamplingStyle:
    """Named decoding settings, set by one button; other fields keep their values."""

    name: str
    hint: str
    values: dict[str, float | int]


NOT_ON_THE_PAGE = ("n",)  # the page shows one sample
OWN = "own"  # the style with each model's own settings
SAMPLING_STYLES = (
    SamplingStyle(
        "safe",
        "stays close to what it knows best",
        {"temperature": 0.5, "top_k": 20, "top_p": 0.95, "min_p": 0, "typical_p": 1, "repetition_penalty": 1},
    ),
    SamplingStyle(
        "balanced",
        "sense and surprise in equal parts",
        {"temperature": 0.8, "top_k": 40, "top_p": 1, "min_p": 0, "typical_p": 1, "repetition_penalty": 1},
    ),
    SamplingStyle(
        "wild",
        "takes the unlikely turnings",
        {"temperature": 1.1, "top_k": 0, "top_p": 1, "min_p": 0.02, "typical_p": 1, "repetition_penalty": 1},
    ),
)

STOP = LinesField("stop", "Stop at", r"One string per line; the text ends before it. \n is a line break.")
UNKNOWN = ChoiceField(
    "unknown_token",
    "Mark for unknown",
    "What the model never saw, such as <unk>.",
    (("banned", "never"), ("allowed", "allowed")),
)


def number_fields(settings: WebSettings) -> tuple[NumberField, ...]:
    """Return the numeric fields in the order of the page."""
    length, window, penalty = settings.max_tokens, settings.max_repetition_window, settings.max_repetition_penalty
    seeds = LARGEST_EXACT_INTEGER
    heat = settings.max_temperature
    least, _ = sampling_range("repetition_penalty")
    typical, penal = sampling_range("typical_p"), sampling_range("presence_penalty")
    return (
        NumberField("max_tokens", "Length", "UNITS to generate, at most.", 1, length, 10),
        NumberField("temperature", "Temperature", "Low is careful, high is daring.", 0, heat, 0.1, whole=False),
        NumberField("top_k", "Top k", "Only the k likeliest; 0 is all.", -1, settings.max_top_k, 5),
        NumberField("top_p", "Top p", "Only the likeliest, up to this probability.", 0, 1, 0.05, whole=False),
        NumberField("seed", "Seed", "Same seed, same text.", 0, seeds),
        _folded("min_p", "Min p", "Drop those far below the best.", 0, 1, 0.01),
        _folded("typical_p", "Typical p", "Only the most typical, up to this probability.", *typical, 0.05),
        _folded("repetition_penalty", "Repetition penalty", "Above 1 avoids repeats; 1 is off.", least, penalty, 0.05),
        _folded("repetition_window", "Repetition window", "UNITS it looks back at; 0 is all.", 0, window, 50, True),
        _folded("presence_penalty", "Presence penalty", "Against what occurred before; 0 is off.", *penal, 0.1),
        _folded("frequency_penalty", "Frequency penalty", "The same, per occurrence; 0 is off.", *penal, 0.1),
        _folded("min_tokens", "Shortest length", "UNITS before a stop counts.", 0, length, 10, True),
    )


def field_names(settings: WebSettings) -> list[str]:
    """Return every name that a form may send besides `model` and `prompt`."""
    return [*(field.name for field in number_fields(settings)), STOP.name, UNKNOWN.name]


def units_of(kind: str) -> str:
    """Return the plural name of the tokens of a kind of tokenizer."""
    return UNITS.get(kind, "tokens")


def shown_values(sampling: SamplingSettings, settings: WebSettings) -> dict[str, str]:
    """Return the values of all fields except the seed for a model's own settings, within the limits of the page."""
    own = sampling.model_dump()
    shown = {
        field.name: plain_number(min(max(own[field.name], field.low), field.high))
        for field in number_fields(settings)
        if field.name != "seed"
    }
    return shown | {
        STOP.name: "\n".join(escaped(text) for text in sampling.stop),
        UNKNOWN.name: sampling.unknown_token,
    }


def wording(sampling: SamplingSettings, settings: WebSettings) -> str:
    """Describe the decoding in one line: length, temperature, and every setting that is not off."""
    values: Mapping[str, Any] = sampling.model_dump()
    neutral = SamplingSettings(top_k=0).model_dump()
    parts = []
    for field in number_fields(settings):
        value = values[field.name]
        if field.name in ("max_tokens", "temperature") or (field.name != "seed" and value != neutral[field.name]):
            parts.append(f"{field.label.lower()} {plain_number(value)}")
    if sampling.stop:
        parts.append("stop at " + " ".join(f"“{escaped(text)}”" for text in sampling.stop))
    if sampling.unknown_token == "allowed":  # nosec B105 # not a password
        parts.append("mark for unknown allowed")
    return ", ".join(parts)


def lines_of(text: str) -> list[str]:
    r"""Read strings, one per line; `\n`, `\r`, `\t` and `\\` are escapes as in Python."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [_ESCAPE.sub(lambda match: _MEANT[match[1]], line) for line in lines if line]


def escaped(text: str) -> str:
    """Write a string on one line, the inverse of `lines_of`."""
    for letter, meant in reversed(_MEANT.items()):  # the backslash first
        text = text.replace(meant, f"\\{letter}")
    return text


def plain_number(number: float | int | None) -> str:
    """Return a number as a person would type it: `1` for 1.0, an empty string for None."""
    return "" if number is None else f"{number:.12g}" if isinstance(number, float) else str(number)


def _folded(name: str, label: str, hint: str, low: float, high: float, step: float, whole: bool = False) -> NumberField:
    return NumberField(name, label, hint, low, high, step, whole, advanced=True)

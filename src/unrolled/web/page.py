"""What the page shows, as plain values: models and their facts, an answer, the words for how it ended.

Nothing here knows Flask. Numbers get their units and thousands here, once, for the page and for the stream alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unrolled.web.forms import WriteRequest, number_fields, plain_number, well_formed
from unrolled.web.settings import WebSettings
from unrolled.web.writing import Outcome

if TYPE_CHECKING:
    from unrolled.trained import TrainedModel


@dataclass(frozen=True)
class ServedModel:
    """A model in the picker: an id made by the server, the name to show, and facts as (label, value)."""

    id: str
    name: str
    model: TrainedModel
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """A finished text for the page without JavaScript."""

    prompt: str
    text: str
    facts: dict[str, Any]


def served_models(models: Sequence[TrainedModel]) -> dict[str, ServedModel]:
    """Give each model an id that is safe in a form, unique and made from its name; the first is the default."""
    served: dict[str, ServedModel] = {}
    for model in models:
        name = well_formed(model.name)
        stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "model"
        number = 1
        while (identity := stem if number == 1 else f"{stem}-{number}") in served:
            number += 1
        served[identity] = ServedModel(identity, name, model, model_facts(model))
    return served


def model_facts(model: TrainedModel) -> tuple[tuple[str, str], ...]:
    """Return what is worth knowing about a model, as (label, value)."""
    info = model.info()
    unit = "characters" if model.tokenizer.kind == "character" else "tokens"
    facts = [
        ("Device", f"{device_name(model.writing_device)}, {model.writing_device_reason}"),
        ("Vocabulary", f"{model.tokenizer.vocabulary_size:,} {unit}"),
    ]
    if (parameters := info.get("parameters")) is not None:
        facts.append(("Parameters", f"{parameters:,}"))
    facts.append(("Network", network_shape(model.settings.model)))
    if (bits := info.get("valid_bits_per_char")) is not None:
        facts.append(("Validation", f"{bits:.3f} bits per character"))
    return tuple((label, well_formed(value)) for label, value in facts)


def network_shape(settings: Any) -> str:
    """Say in words how large a `ModelSettings` is."""
    layers = "1 LSTM layer" if settings.layers == 1 else f"{settings.layers} LSTM layers"
    return f"{layers} of {settings.hidden_size:,}, embedding\u00a0{settings.embedding_size:,}"


def device_name(device: str) -> str:
    """Write a device as people do: `CPU`, `CUDA:0`."""
    return str(device).upper()


def answer_facts(request: WriteRequest, outcome: Outcome, settings: WebSettings) -> dict[str, Any]:
    """Return how a text was made and how it ended: the last object of a stream, and the facts under a text."""
    speed = outcome.tokens / outcome.seconds if outcome.seconds > 0 else None
    return {
        "seed": outcome.seed,
        "tokens": outcome.tokens,
        "finish_reason": outcome.finish_reason,
        "seconds": round(outcome.seconds, 3),
        "tokens_per_second": None if speed is None else round(speed, 1),
        "unknown": [readable(character) for character in outcome.unknown],
        "note": ending_note(outcome.finish_reason, settings),
        "model": request.model_id,
        "decoding": decoding(request, settings),
    }


def decoding(request: WriteRequest, settings: WebSettings) -> str:
    """Say in one line how characters were chosen."""
    labels = {field.name: field.label.lower() for field in number_fields(settings)}
    return ", ".join(f"{labels[name]} {plain_number(value)}" for name, value in request.sampling.items())


def ending_note(finish_reason: str, settings: WebSettings) -> str | None:
    """Return a sentence where a text ended for a reason that a reader could not guess."""
    seconds = plain_number(float(settings.deadline_seconds))
    return {
        "deadline": f"Stopped after {seconds} seconds, the longest that one text may take.",
        "shutdown": "Stopped, because the server is shutting down.",
    }.get(finish_reason)


def readable(character: str) -> str:
    """Return a character that can be seen as itself, any other as its code point: `U+0000`."""
    visible = unicodedata.category(character)[0] in "LNPS" if len(character) == 1 else False
    return character if visible else " ".join(f"U+{ord(c):04X}" for c in character)


def continuation_of(prompt: str, text: str, settings: WebSettings) -> str:
    """Return the prompt that goes on from a text: all of it, or as much of its end as a prompt may hold."""
    return (prompt + text)[-settings.max_prompt_characters :]

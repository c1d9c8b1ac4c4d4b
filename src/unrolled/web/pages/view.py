"""What the page shows, as plain values: facts of a model, an answer, the words for how it ended.

Nothing here knows Flask. Numbers get their units and thousands here, once, for the page and for the stream alike.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from unrolled.serving.models import ServedModel
from unrolled.serving.session import GenerationSession
from unrolled.serving.settings import WebSettings
from unrolled.text.unicode import well_formed
from unrolled.web.pages.form_fields import plain_number, shown_values, units_of, wording


@dataclass(frozen=True)
class Answer:
    """A finished text for the page without JavaScript."""

    prompt: str
    text: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class ModelCard:
    """What the page says about a model, and what its fields start with when it is chosen."""

    id: str
    name: str
    facts: tuple[tuple[str, str], ...]  # (label, value)
    warnings: tuple[str, ...]
    units: str  # what its tokens are called
    values: dict[str, str]


def model_card(served: ServedModel, settings: WebSettings) -> ModelCard:
    """Return what is worth knowing about a model."""
    values = shown_values(served.sampling, settings)
    facts = tuple((label, well_formed(value)) for label, value in model_facts(served))
    return ModelCard(served.id, served.name, facts, served.warnings, units_of(served.kind), values)


def model_facts(served: ServedModel) -> list[tuple[str, str]]:
    """Return the facts of a model as (label, value); of one that is not loaded yet, the few that are known."""
    model, info = served.loaded, served.info
    facts = []
    if model is None:
        facts.append(("Loaded", "not now; its first text takes a moment longer"))
    else:
        facts.append(("Device", f"{device_name(model.writing_device)}, {model.writing_device_reason}"))
        if model.decoding != "float32":
            facts.append(("Weights", f"{model.decoding}, rounded to write faster"))
        facts.append(("Vocabulary", f"{model.tokenizer.vocabulary_size:,} {units_of(served.kind)}"))
    if (parameters := info.get("parameters")) is not None:
        facts.append(("Parameters", f"{parameters:,}"))
    if served.settings is not None:
        facts.append(("Network", network_shape(served.settings.model)))
    if (bits := info.get("valid_bits_per_char")) is not None:
        facts.append(("Validation", f"{bits:.3f} bits per character"))
    return facts


def network_shape(settings: Any) -> str:
    """Say in words how large a `ModelSettings` is."""
    layers = "1 LSTM layer" if settings.layers == 1 else f"{settings.layers} LSTM layers"
    return f"{layers} of {settings.hidden_size:,}, embedding\u00a0{settings.embedding_size:,}"


def device_name(device: str) -> str:
    """Write a device as people do: `CPU`, `CUDA:0`."""
    return str(device).upper()


def answer_facts(session: GenerationSession, settings: WebSettings, notice: str | None = None) -> dict[str, Any]:
    """Return how a text was made and how it ended: the last object of a stream, and the facts under a text."""
    outcome = session.outcome
    speed = outcome.tokens / outcome.seconds if outcome.seconds > 0 else None
    return {
        "seed": outcome.seed,
        "tokens": outcome.tokens,
        "finish_reason": outcome.finish_reason,
        "seconds": round(outcome.seconds, 3),
        "tokens_per_second": None if speed is None else round(speed, 1),
        "unknown": [readable(piece) for piece in outcome.unknown],
        "units": units_of(session.kind),
        "note": " ".join(filter(None, (ending_note(outcome.finish_reason, settings), notice))) or None,
        "model": session.model_id,
        "warnings": list(session.warnings),
        "decoding": wording(session.sampling, settings),
    }


def ending_note(finish_reason: str, settings: WebSettings) -> str | None:
    """Return a sentence where a text ended for a reason that a reader could not guess."""
    seconds = plain_number(float(settings.deadline_seconds))
    return {
        "deadline": f"Stopped after {seconds} seconds, the longest that one text may take.",
        "shutdown": "Stopped, because the server is shutting down.",
    }.get(finish_reason)


def readable(piece: str) -> str:
    """Return text that can be seen as itself, and every character of it that cannot as its code point: `U+0000`."""
    return "".join(c if unicodedata.category(c)[0] in "LNPSM" else f"U+{ord(c):04X}" for c in piece)


def continuation_of(prompt: str, text: str, settings: WebSettings) -> str:
    """Return the prompt that goes on from a text: all of it, or as much of its end as a prompt may hold."""
    return (prompt + text)[-settings.max_prompt_characters :]

"""What the page shows, as plain values: facts about a model and about an answer.

Independent of Flask. Numbers are formatted here once, with units and thousands separators, for the page and the stream.
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
    """A finished sample, for the page without JavaScript."""

    prompt: str
    text: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class ModelCard:
    """What the page shows about a model, and the initial values of the fields when it is chosen."""

    id: str
    name: str
    facts: tuple[tuple[str, str], ...]  # (label, value)
    warnings: tuple[str, ...]
    units: str  # the plural of its tokens' kind
    values: dict[str, str]


def model_card(served: ServedModel, settings: WebSettings) -> ModelCard:
    """Return the card of a model."""
    values = shown_values(served.sampling, settings)
    facts = tuple((label, well_formed(value)) for label, value in model_facts(served))
    return ModelCard(served.id, served.name, facts, served.warnings, units_of(served.kind), values)


def model_facts(served: ServedModel) -> list[tuple[str, str]]:
    """Return the facts about a model as (label, value); before it is loaded, those that are known."""
    model, info = served.loaded, served.info
    facts = []
    if model is None:
        facts.append(("Loaded", "not yet; the first request waits for it"))
    else:
        facts.append(("Device", f"{device_name(model.writing_device)}, {model.writing_device_reason}"))
        if model.decoding != "float32":
            facts.append(("Weights", f"{model.decoding}, rounded for faster generation"))
        facts.append(("Vocabulary", f"{model.tokenizer.vocabulary_size:,} {units_of(served.kind)}"))
    if (parameters := info.get("parameters")) is not None:
        facts.append(("Parameters", f"{parameters:,}"))
    if served.settings is not None:
        facts.append(("Network", network_shape(served.settings.model)))
    if (bits := info.get("valid_bits_per_char")) is not None:
        facts.append(("Validation", f"{bits:.3f} bits per character"))
    return facts


def network_shape(settings: Any) -> str:
    """Describe the size of a network in words."""
    layers = "1 LSTM layer" if settings.layers == 1 else f"{settings.layers} LSTM layers"
    return f"{layers} of {settings.hidden_size:,}, embedding\u00a0{settings.embedding_size:,}"


def device_name(device: str) -> str:
    """Return the display name of a device: `CPU`, `CUDA:0`."""
    return str(device).upper()


def answer_facts(session: GenerationSession, settings: WebSettings, notice: str | None = None) -> dict[str, Any]:
    """Return the facts about a session: the last object of a stream, and the lines below a sample."""
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
    """Return a sentence for finish reasons that need an explanation."""
    seconds = plain_number(float(settings.deadline_seconds))
    return {
        "deadline": f"Stopped after {seconds} seconds, the time limit of a request.",
        "shutdown": "Stopped, because the server is shutting down.",
    }.get(finish_reason)


def readable(piece: str) -> str:
    """Return a text with its invisible characters as code points, such as `U+0000`."""
    return "".join(c if unicodedata.category(c)[0] in "LNPSM" else f"U+{ord(c):04X}" for c in piece)


def continuation_of(prompt: str, text: str, settings: WebSettings) -> str:
    """Return the prompt that continues a text: all of it, or its end if a prompt may not be that long."""
    return (prompt + text)[-settings.max_prompt_characters :]

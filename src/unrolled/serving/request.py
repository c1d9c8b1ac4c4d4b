"""What a visitor asks for, whichever way the request came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GenerationRequest:
    """A valid request: `sampling` holds the settings that were given, by their names, without the seed."""

    model_id: str
    prompt: str
    sampling: dict[str, Any]
    seed: int | None

"""A generation request, independent of the interface that it came through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GenerationRequest:
    """A request within the server's limits. `sampling` holds the settings that the client sent, except the seed."""

    model_id: str
    prompt: str
    sampling: dict[str, Any]
    seed: int | None

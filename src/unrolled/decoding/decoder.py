"""The protocol of a decoder: a language model that is fed one token at a time.

V: vocabulary, B: rows, N: tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Support:
    """Whether a decoder computes exactly what a model computes; usable as a condition."""

    is_given: bool
    reason: str = ""  # why, or why not; for the user

    def __bool__(self) -> bool:
        """Return whether the model is supported."""
        return self.is_given


class DecoderState(Protocol):
    """The state of a model for each row: an immutable value that its caller owns."""

    def select(self, rows: Sequence[int]) -> DecoderState:
        """Return the state of these rows, in this order; a row may be selected several times."""


class Decoder(Protocol):
    """A language model, one token at a time."""

    vocabulary_size: int

    def initial_state(self, rows: int) -> Any:
        """Return the state before any token, for `rows` rows."""

    def step(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Feed a token to each row, (B,); return the logits of the next ones, (B, V) float32, and the new state."""

    def prefill(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Feed tokens (N,) to a state of one row; return the logits of the next one, (V,), and the new state."""

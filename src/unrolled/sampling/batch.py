"""The samples of a request, drawn in parallel: the prompt is read once, then each row draws its own tokens.

`StepwiseBatch` works with any decoder, one token at a time. `NativeBatch` is its fast counterpart: the same tokens for
the same seed, in blocks.

N: tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from unrolled.config import SamplingSettings
from unrolled.decoding import Decoder
from unrolled.sampling.sampler import TokenSampler, generator_for


@dataclass(frozen=True)
class Request:
    """A request for `settings.n` samples that continue one prompt."""

    prompt: np.ndarray  # (N,) ids, counted by the repetition penalty
    start_id: int  # read instead of an empty prompt, and not counted
    settings: SamplingSettings
    seed: int  # row j draws with seed + j
    banned: int | None  # never drawn
    end: int | None  # not drawn among the first `settings.min_tokens`

    @property
    def first_ids(self) -> np.ndarray:
        """The ids that the model reads first, (N,), at least one."""
        return self.prompt if len(self.prompt) else np.array([self.start_id])


class SampleBatch(Protocol):
    """Samples being drawn, one per row; rows are independent of each other."""

    def next(self) -> list[list[int]]:
        """Return the next tokens of each row, at least one; -1 where the model's logits are not finite.

        Raises:
            UserError: the logits are not finite.
        """

    def keep(self, rows: Sequence[int]) -> None:
        """Continue with these rows only."""


class StepwiseBatch:
    """One token of each row at a time, from any decoder."""

    def __init__(self, decoder: Decoder, request: Request) -> None:
        """Store the request; the prompt is read when the first tokens are drawn."""
        settings = request.settings
        self._decoder, self._request = decoder, request
        self._rows = [
            _Row(TokenSampler(settings, decoder.vocabulary_size, generator_for(request.seed, sample)))
            for sample in range(settings.n)
        ]
        for row in self._rows:
            row.sampler.observe_prompt(request.prompt.tolist())
        never = () if request.banned is None else (request.banned,)
        self._never, self._not_yet = never, never if request.end is None else (*never, request.end)
        self._state: Any = None
        self._written = 0

    def next(self) -> list[list[int]]:
        """See `SampleBatch.next`."""
        logits = self._first_logits() if self._written == 0 else self._next_logits()
        masked = self._not_yet if self._written < self._request.settings.min_tokens else self._never
        self._written += 1
        for row, scores in zip(self._rows, logits, strict=True):
            row.token = row.sampler.sample(scores, masked)
        return [[row.token] for row in self._rows]

    def keep(self, rows: Sequence[int]) -> None:
        """See `SampleBatch.keep`."""
        self._rows, self._state = [self._rows[row] for row in rows], self._state.select(rows)

    def _first_logits(self) -> np.ndarray:
        rows = len(self._rows)
        logits, state = self._decoder.prefill(self._request.first_ids, self._decoder.initial_state(1))
        self._state = state.select([0] * rows)
        return np.repeat(logits[None], rows, axis=0)

    def _next_logits(self) -> np.ndarray:
        logits, self._state = self._decoder.step(np.array([row.token for row in self._rows]), self._state)
        return logits


@dataclass
class _Row:
    sampler: TokenSampler
    token: int = -1  # the last one

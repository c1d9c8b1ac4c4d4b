"""Where the tokens of a request come from: a prompt is read once, then each row draws from the model's distribution.

`SteppedDrawing` serves any decoder, a token at a time. `NativeDrawing` is its fast twin: the same numbers for the same
seed, in blocks of tokens.

V: vocabulary, B: rows, N: tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from unrolled.config import SamplingSettings
from unrolled.decoding import Decoder
from unrolled.sampling.sampler import TokenChooser, generator_for


@dataclass(frozen=True)
class Request:
    """What is to be drawn: `settings.n` rows that go on after one prompt."""

    prompt: np.ndarray  # (N,) ids, which the repetition penalty counts
    start_id: int  # read, and not counted, where the prompt is empty
    settings: SamplingSettings
    seed: int  # row j draws with seed + j
    banned: int | None  # never drawn
    end: int | None  # not drawn among the first `settings.min_tokens`

    @property
    def first_ids(self) -> np.ndarray:
        """What the model reads, (N,), at least one id."""
        return self.prompt if len(self.prompt) else np.array([self.start_id])


class Drawing(Protocol):
    """Tokens on their way, for rows that do not disturb each other."""

    def next(self) -> list[list[int]]:
        """Return the next tokens of each row, at least one; -1 where the model's scores are not finite.

        Raises:
            UserError: the scores are not finite.
        """

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""


class SteppedDrawing:
    """One token of each row at a time, from any decoder."""

    def __init__(self, decoder: Decoder, request: Request) -> None:
        """Take note of the request; the prompt is read with the first tokens."""
        settings = request.settings
        self._decoder, self._request = decoder, request
        self._rows = [
            _Row(TokenChooser(settings, decoder.vocabulary_size, generator_for(request.seed, sample)))
            for sample in range(settings.n)
        ]
        for row in self._rows:
            row.chooser.heard(request.prompt.tolist())
        never = () if request.banned is None else (request.banned,)
        self._never, self._not_yet = never, never if request.end is None else (*never, request.end)
        self._state: Any = None
        self._written = 0

    def next(self) -> list[list[int]]:
        """See `Drawing.next`."""
        logits = self._first_logits() if self._written == 0 else self._next_logits()
        masked = self._not_yet if self._written < self._request.settings.min_tokens else self._never
        self._written += 1
        for row, scores in zip(self._rows, logits, strict=True):
            row.token = row.chooser.choose(scores, masked)
        return [[row.token] for row in self._rows]

    def keep(self, rows: Sequence[int]) -> None:
        """See `Drawing.keep`."""
        self._rows, self._state = [self._rows[row] for row in rows], self._state.select(rows)

    def _first_logits(self) -> np.ndarray:
        rows = len(self._rows)
        logits, state = self._decoder.read(self._request.first_ids, self._decoder.start(1))
        self._state = state.select([0] * rows)
        return np.repeat(logits[None], rows, axis=0)

    def _next_logits(self) -> np.ndarray:
        logits, self._state = self._decoder.step(np.array([row.token for row in self._rows]), self._state)
        return logits


@dataclass
class _Row:
    chooser: TokenChooser
    token: int = -1  # the last one

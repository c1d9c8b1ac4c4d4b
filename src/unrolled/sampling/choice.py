"""How one sample chooses its next token: all decoding settings, with the sample's own history and generator.

The order is that of `processors`: masks, repetition penalty, frequency and presence, then either the likeliest token
(temperature below 1e-5: no filter, no randomness) or temperature, filters and one draw.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np

from unrolled.config import SamplingSettings
from unrolled.sampling import processors
from unrolled.sampling.draw import draw, greedy
from unrolled.sampling.history import TokenCounts, TokenWindow

GREEDY_BELOW = 1e-5  # temperatures


class TokenChooser:
    """The decoding settings at work for one sample."""

    def __init__(self, settings: SamplingSettings, vocabulary_size: int, generator: random.Random) -> None:
        """Start with nothing said; the generator belongs to this sample alone."""
        self._settings = settings
        self._generator = generator
        self._filters = processors.filters(settings)
        self._window = TokenWindow(vocabulary_size, settings.repetition_window)
        self._output = TokenCounts(vocabulary_size)
        self._greedy = settings.temperature < GREEDY_BELOW
        self._repetition = settings.repetition_penalty != 1
        self._occurrence = settings.frequency_penalty != 0 or settings.presence_penalty != 0

    def heard(self, prompt: Iterable[int]) -> None:
        """Take the prompt's tokens into the repetition penalty's window; the other penalties count only the output."""
        if self._repetition:
            for token in prompt:
                self._window.push(token)

    def choose(self, logits: np.ndarray, masked: Iterable[int]) -> int:
        """Return the next token and remember it.

        Args:
            logits: the model's, (V,) float32; left as they are.
            masked: tokens that may not be chosen now.
        """
        logits = logits.astype(np.float64)
        for token in masked:
            logits[token] = -np.inf
        token = self._pick(self._penalised(logits))
        self._remember(token)
        return token

    def _penalised(self, logits: np.ndarray) -> np.ndarray:
        settings = self._settings
        if self._repetition:
            logits = processors.repetition_penalty(logits, self._window.seen, settings.repetition_penalty)
        if self._occurrence:
            logits = processors.frequency_and_presence(
                logits, self._output.counts, settings.frequency_penalty, settings.presence_penalty
            )
        return logits

    def _pick(self, logits: np.ndarray) -> int:
        if self._greedy:
            return greedy(logits)
        for apply in self._filters:
            logits = apply(logits)
        return draw(logits, self._generator.random())

    def _remember(self, token: int) -> None:
        if self._repetition:
            self._window.push(token)
        if self._occurrence:
            self._output.push(token)

"""Drawing the next token of one sample: all sampling settings, with the sample's own token counts and generator.

The order is that of `processors`: masks, repetition penalty, frequency and presence penalties, then either the
likeliest token (temperature below 1e-5: no filters, no randomness) or temperature, filters and one draw.

A draw inverts the cumulative distribution in the order of the ids, in float64, with one uniform number per token
(inverse transform sampling, Devroye 1986, http://luc.devroye.org/rnbookindex.html), so the outcome depends only on the
logits and the seed. Sample j of a request has its own generator, with the seed `seed + j` in 64 bits; Python guarantees
the same sequence of `random.random` in every version.
"""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Iterable

import numpy as np

from unrolled.config import SamplingSettings
from unrolled.errors import UserError
from unrolled.sampling import processors
from unrolled.sampling.token_counts import TokenCounts, TokenWindow

GREEDY_BELOW = 1e-5  # temperatures
SEEDS = 2**64


class TokenSampler:
    """Draws the tokens of one sample."""

    def __init__(self, settings: SamplingSettings, vocabulary_size: int, generator: random.Random) -> None:
        """Start without tokens; the generator must not be shared with another sample."""
        self._settings = settings
        self._generator = generator
        self._filters = processors.filters(settings)
        self._window = TokenWindow(vocabulary_size, settings.repetition_window)
        self._output = TokenCounts(vocabulary_size)
        self._greedy = settings.temperature < GREEDY_BELOW
        self._repetition = settings.repetition_penalty != 1
        self._occurrence = settings.frequency_penalty != 0 or settings.presence_penalty != 0

    def observe_prompt(self, prompt: Iterable[int]) -> None:
        """Add the prompt to the repetition penalty's window; the other penalties count only the output."""
        if self._repetition:
            for token in prompt:
                self._window.push(token)

    def sample(self, logits: np.ndarray, masked: Iterable[int]) -> int:
        """Draw the next token, and count it for the penalties.

        Args:
            logits: the model's, (V,) float32; not modified.
            masked: tokens that must not be drawn now.
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


def greedy(logits: np.ndarray) -> int:
    """Return the id of the largest logit of (V,); of several, the lowest id."""
    best = int(logits.argmax())  # the first NaN, if there is one
    _check(float(logits[best]))
    return best


def draw(logits: np.ndarray, uniform: float) -> int:
    """Return the id where the cumulative softmax of the logits (V,) first exceeds `uniform`, a number in [0, 1)."""
    highest = float(logits[logits.argmax()])
    _check(highest)
    cumulative = np.add.accumulate(np.exp(logits - highest, dtype=np.float64))
    # The total is at least 1 and the uniform at most 1 - 2**-53, so their product rounds to less than the total: an id
    # that exceeds it always exists, and the first that does has a probability above 0.
    return int(cumulative.searchsorted(uniform * cumulative[-1], side="right"))


def generator_for(seed: int, sample: int) -> random.Random:
    """Return the generator of a request's sample; modulo 2**64, because `Random` does not distinguish -1 from 1."""
    return random.Random((seed + sample) % SEEDS)  # nosec B311 # reproducible sampling, not secrecy


def sample_seed(seed: int, sample: int) -> int:
    """Return the seed that reproduces this sample as the only one of a request, a signed 64-bit number."""
    return (seed + sample + SEEDS // 2) % SEEDS - SEEDS // 2


def resolve_seed(seed: int | None) -> int:
    """Return the seed, or a random one below 2**31 from the operating system if none is given."""
    return secrets.randbelow(2**31) if seed is None else seed


def damaged_model() -> UserError:
    """Return the error for a model whose logits are not finite."""
    return UserError(
        "The model's scores for the next token are not finite numbers; its weights are damaged or its training "
        "diverged, so use another checkpoint or train again with a lower learning rate."
    )


def _check(highest: float) -> None:
    if not math.isfinite(highest):
        raise damaged_model()

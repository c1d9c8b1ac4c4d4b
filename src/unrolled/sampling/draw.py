"""One token out of a row of logits: the likeliest, or one drawn with a uniform number in [0, 1).

Drawing inverts the cumulative distribution in the order of the ids, in float64, with one uniform a token (inverse
transform sampling, Devroye 1986, http://luc.devroye.org/rnbookindex.html), so the outcome depends on the logits and
the seed alone. Sample j of a request has its own generator, seeded seed + j in 64 bits; Python promises the same
sequence of `random.random` in every version.
"""

from __future__ import annotations

import math
import random
import secrets

import numpy as np

from unrolled.errors import UserError

SEEDS = 2**64


def greedy(logits: np.ndarray) -> int:
    """Return the id of the largest logit of (V,), the lowest one where several tie."""
    best = int(logits.argmax())  # the first NaN, where there is one
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
    """Return the generator of a request's sample; modulo 2**64, because `Random` takes -1 and 1 for the same seed."""
    return random.Random((seed + sample) % SEEDS)


def sample_seed(seed: int, sample: int) -> int:
    """Return the seed that gives this sample when it is asked for alone, as a signed number of 64 bits."""
    return (seed + sample + SEEDS // 2) % SEEDS - SEEDS // 2


def resolve_seed(seed: int | None) -> int:
    """Return the seed, or one below 2**31 from the operating system where there is none."""
    return secrets.randbelow(2**31) if seed is None else seed


def damaged_model() -> UserError:
    """Return the error of a model whose scores are not finite."""
    return UserError(
        "The model's scores for the next token are not finite numbers; its weights are damaged or its training "
        "diverged, so use another checkpoint or train again with a lower learning rate."
    )


def _check(highest: float) -> None:
    if not math.isfinite(highest):
        raise damaged_model()

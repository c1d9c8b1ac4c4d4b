"""Operations on the logits of the next token: pure functions from one row (V,) to another.

They run in the order of Hugging Face's transformers: repetition penalty, frequency and presence penalties, temperature,
top-k, top-p, min-p, typical-p. A filter sets the logits that it drops to -inf and always keeps at least one token. With
a neutral value, a function returns its argument. If top-p or typical-p cuts between equal tokens, lower ids are kept.

V: tokens in the vocabulary. Logits are float32 or float64 and keep their type; nothing is modified in place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unrolled.config import SamplingSettings

Processor = Callable[[np.ndarray], np.ndarray]

OFF = -np.inf


def repetition_penalty(logits: np.ndarray, seen: np.ndarray, penalty: float) -> np.ndarray:
    """Make the tokens marked in `seen` (V,) less likely (penalty above 1) or more likely (below 1), once each.

    Positive logits are divided by the penalty, negative ones multiplied (Keskar et al. 2019,
    https://arxiv.org/abs/1909.05858, in the form that does not reward a repeated token with a negative logit). The
    result is therefore the lower of the two for a penalty above 1, and the higher for one below 1.
    """
    if penalty == 1:
        return logits
    one_of = np.minimum if penalty > 1 else np.maximum
    return np.where(seen, one_of(logits / penalty, logits * penalty), logits)


def frequency_and_presence(logits: np.ndarray, counts: np.ndarray, frequency: float, presence: float) -> np.ndarray:
    """Subtract `frequency` for each occurrence of a token in the output, and `presence` once; counts are (V,).

    The formula of OpenAI's completions API: https://platform.openai.com/docs/guides/text-generation.
    """
    if frequency == 0 and presence == 0:
        return logits
    return logits - (frequency * counts + presence * (counts > 0)).astype(logits.dtype)


def temperature(logits: np.ndarray, degree: float) -> np.ndarray:
    """Divide by the temperature: below 1 sharpens the distribution, above 1 flattens it."""
    return logits if degree == 1 else logits / degree


def top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """Keep the k likeliest tokens and ties with the k-th (Fan et al. 2018, https://arxiv.org/abs/1805.04833)."""
    if k <= 0 or k >= logits.size:
        return logits
    ordered = logits.copy()
    ordered.partition(-k)
    return np.where(logits < ordered[-k], OFF, logits)


def top_p(logits: np.ndarray, mass: float) -> np.ndarray:
    """Keep the smallest set of likeliest tokens that holds `mass` (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751).

    Accumulated from the unlikely end: tokens within the lowest 1 - mass are dropped, the one that crosses it is kept.
    """
    if mass >= 1:
        return logits
    ascending = np.argsort(-logits, kind="stable")[::-1]
    cumulative = np.cumsum(softmax(logits)[ascending])
    return _without(logits, ascending[:-1][cumulative[:-1] <= 1 - mass])


def min_p(logits: np.ndarray, fraction: float) -> np.ndarray:
    """Drop tokens less probable than `fraction` of the likeliest (Nguyen et al. 2024, https://arxiv.org/abs/2407.01082)."""
    if fraction <= 0:
        return logits
    lowest = logits.max() + np.log(fraction, dtype=np.float64)
    return np.where(logits < lowest, OFF, logits)


def typical_p(logits: np.ndarray, mass: float) -> np.ndarray:
    """Keep the tokens whose surprisal is nearest to the entropy, up to `mass` (https://arxiv.org/abs/2202.00666).

    The token that reaches `mass` is kept. The most typical token, not necessarily the likeliest, is always kept.
    """
    if mass >= 1:
        return logits
    alive = np.flatnonzero(logits > OFF)
    probabilities = softmax(logits[alive])
    with np.errstate(divide="ignore"):
        surprisals = -np.log(probabilities)
    entropy = np.sum(probabilities * np.where(probabilities > 0, surprisals, 0))
    order = np.argsort(np.abs(surprisals - entropy), kind="stable")
    kept = 1 + int(np.searchsorted(np.cumsum(probabilities[order]), mass))
    return _without(logits, alive[order[kept:]])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities (V,) of the logits, in float64."""
    weights = np.exp(logits.astype(np.float64) - float(logits.max()))
    return weights / weights.sum()


def filters(settings: SamplingSettings) -> list[Processor]:
    """Return temperature and the filters that the settings enable, in order."""
    stages = [
        (settings.temperature != 1, temperature, settings.temperature),
        (settings.top_k > 0, top_k, settings.top_k),
        (settings.top_p < 1, top_p, settings.top_p),
        (settings.min_p > 0, min_p, settings.min_p),
        (settings.typical_p < 1, typical_p, settings.typical_p),
    ]
    return [_bind(stage, value) for active, stage, value in stages if active]


def _bind(stage: Callable[[np.ndarray, float], np.ndarray], value: float) -> Processor:
    return lambda logits: stage(logits, value)


def _without(logits: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    left = logits.copy()
    left[dropped] = OFF
    return left

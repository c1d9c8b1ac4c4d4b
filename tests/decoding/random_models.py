"""Models with random weights, as the decoders take them."""

from __future__ import annotations

import math

import numpy as np

from unrolled.decoding import NativeDecoder, NumpyDecoder


def decoders(vocabulary=11, hidden=21, layers=1, seed=3, damage=0.0):
    """Return the numpy and the native decoder of one random model with lively logits."""
    draw = np.random.default_rng(seed)

    def normal(*shape):
        return draw.standard_normal(shape) / math.sqrt(shape[-1])

    sizes = [6, *[hidden] * (layers - 1)]
    parts = [(normal(size, 4 * hidden), 2 * normal(hidden, 4 * hidden), normal(4 * hidden)) for size in sizes]
    weights = 3 * normal(vocabulary, 6), parts, 9 * normal(vocabulary, hidden), normal(vocabulary) + damage
    return NumpyDecoder(*weights), NativeDecoder(*weights)

"""Dropout of activations, with masks from the caller's generator so that a run can be resumed.

    elementwise   a fresh mask at every step                          (Srivastava et al. 2014; Zaremba et al. 2014)
    locked        one mask for all steps of a sequence, one a row     (Gal and Ghahramani 2016, "variational")

What is kept is divided by its share, so that nothing need be scaled when nothing is dropped.
T: steps, B: rows, N: numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor


def drop(x: Tensor, rate: float, kind: str, generator: torch.Generator | None) -> Tensor:
    """Return x (T, B, N) with a share `rate` of its numbers set to 0; x itself where no generator is given.

    Args:
        x: activations.
        rate: share that is dropped, below 1.
        kind: `elementwise` or `locked`.
        generator: source of the masks; its device may differ from that of x.
    """
    if generator is None or rate == 0:
        return x
    shape = x.shape if kind == "elementwise" else (1, *x.shape[1:])
    keep = torch.empty(shape, device=generator.device).bernoulli_(1 - rate, generator=generator)
    return x * (keep.to(x.device) / (1 - rate))

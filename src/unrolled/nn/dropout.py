"""Dropout of activations, with masks from the caller's generator so that a run can be resumed.

    elementwise   a new mask at each step                             (Srivastava et al. 2014; Zaremba et al. 2014)
    locked        one mask per row for all steps of a sequence        (Gal and Ghahramani 2016, "variational")

Kept activations are divided by the fraction kept, so nothing needs scaling when dropout is off.
T: steps, B: rows, N: numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dropout:
    """Dropout in one place of a model.

    Attributes:
        rate: fraction of activations that are dropped, below 1.
        kind: `elementwise` or `locked`.
    """

    rate: float = 0.0
    kind: str = "elementwise"

    def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return x (T, B, N) with a fraction `rate` of its numbers set to 0; x itself without a generator.

        Args:
            x: activations.
            generator: source of the masks; its device may differ from that of x.
        """
        if not self.is_active(generator):
            return x
        shape = x.shape if self.kind == "elementwise" else (1, *x.shape[1:])
        keep = torch.empty(shape, device=generator.device).bernoulli_(1 - self.rate, generator=generator)
        return x * (keep.to(x.device) / (1 - self.rate))

    def is_active(self, generator: torch.Generator | None) -> bool:
        """Tell whether anything is dropped with this generator."""
        return generator is not None and self.rate > 0


NO_DROPOUT = Dropout()

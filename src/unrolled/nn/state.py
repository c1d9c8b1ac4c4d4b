"""The state of a recurrent model between two calls: an immutable value that its caller owns.

Passing it on enables streaming and truncated back-propagation; selecting rows of it enables batching.
L: layers, B: rows, H: hidden size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class State(NamedTuple):
    """Hidden state h and cell state c of every layer, (L, B, H) each."""

    h: Tensor
    c: Tensor

    @classmethod
    def zeros(cls, layers: int, rows: int, hidden_size: int, like: Tensor) -> State:
        """Return the state before any token, with the device and dtype of `like`."""
        zeros = like.new_zeros(layers, rows, hidden_size)
        return cls(zeros, zeros)

    def detach(self) -> State:
        """Return the state detached from the graph, so that back-propagation stops here."""
        return State(self.h.detach(), self.c.detach())

    def select(self, rows: Tensor) -> State:
        """Return the state of some rows, in the order of `rows` (K,)."""
        return State(self.h[:, rows], self.c[:, rows])

    @classmethod
    def stack(cls, layers: list[tuple[Tensor, Tensor]]) -> State:
        """Build the state of all layers from each layer's (h, c), (B, H) each."""
        return cls(torch.stack([h for h, _ in layers]), torch.stack([c for _, c in layers]))

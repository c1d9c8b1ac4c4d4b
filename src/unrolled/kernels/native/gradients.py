"""The backward pass through the pre-activations, a block of time steps at a time.

The derivatives by a block's pre-activations are still in the processor's cache when they are multiplied by the states
and by the inputs for the derivatives by the weights; those of all steps are never in memory at once.

T: steps, B: rows, I: input size, H: hidden size, P: grouped gates, V: rows of a table.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from unrolled.native.operands import COLUMNS_BY_GATES, GATES, ROWS_BY_GATES, Operands
from unrolled.native.team import cut

BLOCK_NUMBERS = 5 * 2**20  # derivatives in a block, at most: 20 MiB in float32


class SourceGradient(Protocol):
    """Accumulates the derivatives by the source of the pre-activations."""

    ids: Tensor | None  # (T, B) if the derivatives are summed by token
    sums: Tensor | None  # (V, P): those sums, computed along with the recurrent weights' product

    def add(self, block: slice, d_gates: Tensor) -> None:
        """Add the derivatives (steps * B, P) of a block of steps."""

    def result(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the derivatives by the source, and by W_ih and the bias if the source has them."""


class TableGradient:
    """By a table (V, 4H): the rows of all tokens that looked up the same row are added."""

    def __init__(self, kind: Operands, ids: Tensor, rows: int, H: int) -> None:
        self.kind, self.ids, self.H = kind, ids, H
        self.sums = torch.zeros(rows, kind.grouped_size(H), dtype=torch.float32)

    def add(self, block: slice, d_gates: Tensor) -> None:
        """See `SourceGradient`."""

    def result(self) -> tuple[Tensor, None, None]:
        """See `SourceGradient`."""
        return self.kind.ungrouped(self.sums, self.H), None, None


class DenseGradient:
    """By an input (T, B, I), its weights and the bias."""

    ids = sums = None

    def __init__(self, kind: Operands, x: Tensor, w_ih: Tensor, T: int, B: int) -> None:
        self.kind, self.x, self.T, self.B, self.H = kind, x, T, B, w_ih.shape[1] // GATES
        self.w = kind.pack(w_ih.t(), ROWS_BY_GATES, self.H)
        self.d_x = torch.empty(x.shape[0], w_ih.shape[0], dtype=torch.float32)
        self.d_w_ih = kind.zeros_by_group(w_ih.shape[0], self.w.K)
        self.d_bias = torch.zeros(1, self.w.K, dtype=torch.float32)

    def add(self, block: slice, d_gates: Tensor) -> None:
        """See `SourceGradient`."""
        rows = slice(block.start * self.B, block.stop * self.B)
        self.kind.product(d_gates, self.w, out=self.d_x[rows])
        self.kind.add_transposed_product(self.d_w_ih, self.x[rows], d_gates, self.w.K, self.d_bias)

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        """See `SourceGradient`."""
        d_w_ih = self.kind.side_by_side(self.d_w_ih, self.w.K, None, COLUMNS_BY_GATES, self.H)
        d_x = self.d_x.view(self.T, self.B, self.d_x.shape[1])
        return d_x, d_w_ih, self.kind.ungrouped(self.d_bias[0], self.H)


class TokenGradient:
    """By an embedding (V, I), W_ih and the bias, through the table that is their product."""

    def __init__(self, kind: Operands, ids: Tensor, x: Tensor, w_ih: Tensor) -> None:
        self.kind, self.ids = kind, ids
        self.sums = torch.zeros(len(x), kind.grouped_size(w_ih.shape[1] // GATES), dtype=torch.float32)
        self.dense = DenseGradient(kind, x, w_ih, len(x), 1)

    def add(self, block: slice, d_gates: Tensor) -> None:
        """See `SourceGradient`."""

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        """See `SourceGradient`."""
        self.dense.add(slice(0, len(self.sums)), self.kind.of(self.sums))
        d_x, d_w_ih, d_bias = self.dense.result()
        return d_x.flatten(0, 1), d_w_ih, d_bias


class PreActivationGradient:
    """By pre-activations (T, B, 4H)."""

    ids = sums = None

    def __init__(self, kind: Operands, T: int, B: int, H: int) -> None:
        self.kind, self.d_source = kind, torch.empty(T, B, GATES * H, dtype=torch.float32)

    def add(self, block: slice, d_gates: Tensor) -> None:
        """See `SourceGradient`."""
        part = self.d_source[block]
        part.copy_(self.kind.ungrouped(d_gates.float(), part.shape[-1] // GATES).view_as(part))

    def result(self) -> tuple[Tensor, None, None]:
        """See `SourceGradient`."""
        return self.d_source, None, None


def backward(
    kind: Operands,
    grad_h: Tensor,
    grad_c_last: Tensor,
    w_hh: Tensor,
    kept: tuple[Tensor, Tensor, Tensor, Tensor],
    source: SourceGradient,
) -> tuple[Tensor, Tensor, Tensor]:
    """Go back through all steps and return the derivatives by W_hh, h0 and c0.

    Args:
        kind: of the operands.
        grad_h: derivative by the hidden states, (T, B, H).
        grad_c_last: by the last cell state, (B, H).
        w_hh: recurrent weights, (H, 4H).
        kept: saved in the forward pass: states (T + 1, B, H') from h0 on, c0 (G, B, VL), gates and cells.
        source: accumulates the derivatives by the pre-activations.
    """
    states, c0, gates, cells = kept
    (T, B, H), w = grad_h.shape, kind.pack(w_hh.t(), ROWS_BY_GATES, w_hh.shape[0])
    steps = _steps_of_block(T, B * w.K)
    d_gates, d_w_hh = kind.empty(steps, B, w.K), kind.zeros_by_group(H, w.K)
    dh, dc = torch.zeros(B, H, dtype=torch.float32), kind.grouped_state(grad_c_last)
    for start in reversed(range(0, T, steps)):
        block = slice(start, min(start + steps, T))
        c_before = cells[start - 1].float() if start else c0
        count = block.stop - start
        kept_of_block = {"gates": gates[block], "cells": cells[block], "c0": c_before}
        _block_backward(kind, grad_h[block], packed=w.panels, **kept_of_block, dh=dh, dc=dc, d_gates=d_gates)
        flat = d_gates[:count].flatten(0, 1)  # (steps * B, P)
        source.add(block, flat)
        ids = None if source.ids is None else source.ids[block].flatten()
        kind.add_transposed_product(d_w_hh, states[block].flatten(0, 1), flat, w.K, source.sums, ids)
    return kind.side_by_side(d_w_hh, w.K, None, COLUMNS_BY_GATES, H), dh, kind.ungrouped_state(dc, H)


def _steps_of_block(T: int, numbers: int) -> int:
    """Return the number of steps in a block, given the derivatives of each step; blocks have nearly equal sizes."""
    most = max(1, BLOCK_NUMBERS // max(1, numbers))
    blocks = max(1, -(-T // most))
    return max(1, -(-T // blocks))


def _block_backward(kind: Operands, grad_h: Tensor, d_gates: Tensor, **arrays: Tensor) -> None:
    """Go back through a block of steps, each thread with its own rows; fills d_gates, and the arrays dh and dc."""
    (T, B, H), P = grad_h.shape, d_gates.shape[-1]
    rows = cut(B, T * P * H)
    scratch_bytes = kind.size("lstm_scratch", -(-B // rows.parts), P) * kind.dtype.itemsize if B else 0
    sizes = {"T": T, "B": B, "H": H}
    kind.do("lstm_backward", rows, **sizes, grad_h=grad_h, d_gates=d_gates, **arrays, scratch_bytes=scratch_bytes)

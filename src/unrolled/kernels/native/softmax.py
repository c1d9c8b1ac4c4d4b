"""Output layer, softmax and cross-entropy in C; see `unrolled.kernels.softmax`.

N: tokens, V: vocabulary, H: hidden size.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unrolled.kernels.softmax import IGNORED
from unrolled.native.operands import WINDOW_ROWS, Operands, are_within
from unrolled.native.team import cut

BLOCK_NUMBERS = 2**20  # derivatives by the logits in a block; those of other blocks are not stored
FLOAT_BYTES = 4
# a block has a multiple of this many tokens: a window for each of two threads, and twice SUMMED_ROWS of lstm.c
BLOCK_ROWS = 512


def native_cross_entropy(
    kind: Operands, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float = 1.0
) -> Tensor:
    """Return the summed cross-entropy in nats; see `Kernel.summed_cross_entropy`.

    Raises:
        ValueError: the shapes do not match.
        IndexError: a target is outside the vocabulary.
    """
    V, H = weight.shape
    if h.shape[1:] != (H,) or bias.shape != (V,) or targets.shape != h.shape[:1]:
        shapes = [tuple(tensor.shape) for tensor in (h, weight, bias, targets)]
        raise ValueError("hidden states {}, weight {}, bias {} and targets {} do not match".format(*shapes))
    if max(len(h), V + WINDOW_ROWS) * (H + V + WINDOW_ROWS) * FLOAT_BYTES > sys.maxsize:
        raise ValueError(
            f"{len(h)} hidden states of {H} units and {V} words take more bytes than there are addresses for"
        )
    if not are_within(targets, V) and not are_within(targets[targets != IGNORED], V):
        raise IndexError(f"a target is outside the vocabulary of {V}")
    targets = targets.to("cpu", torch.int64).contiguous()
    return _SummedCrossEntropy.apply(kind, h, weight, bias.contiguous(), targets, scale)


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kind: Operands, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float) -> Tensor:
        V = len(weight)
        size = max(1, BLOCK_NUMBERS // max(1, V) // BLOCK_ROWS) * BLOCK_ROWS
        there, back = kind.pack(weight.t()), kind.pack(weight)
        d_h, d_weight, d_bias = (
            torch.empty(h.shape, dtype=torch.float32),
            kind.zeros_by_group(*weight.shape),
            torch.zeros(V, dtype=torch.float32),
        )
        nats, shared = 0.0, {"packed": there.panels, "packed_back": back.panels, "bias": bias}
        shared["scale"] = torch.tensor(scale, dtype=torch.float32)
        for start in range(0, len(h), size):
            block = slice(start, start + size)
            x = kind.of(h[block])
            dz = kind.empty(len(x), kind.even(V))
            arrays = {"h": x, "targets": targets[block], "dz": dz, "d_h": d_h[block], **shared}
            nats += _cross_entropy(kind, *weight.shape, d_bias, arrays)
            kind.add_transposed_product(d_weight, dz, x, weight.shape[1])
        ctx.save_for_backward(d_h, d_weight, d_bias)
        ctx.kind = kind
        return h.new_tensor(scale * nats)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss: Tensor):
        d_h, d_weight, d_bias = ctx.saved_tensors
        d_weight = ctx.kind.side_by_side(d_weight, d_h.shape[1], grad_loss)
        return None, d_h if grad_loss == 1 else d_h * grad_loss, d_weight, d_bias * grad_loss, None, None


def _cross_entropy(kind: Operands, V: int, H: int, d_bias: Tensor, arrays: dict[str, Tensor]) -> float:
    """Fill dz and d_h of a block, add to d_bias, and return the block's nats."""
    rows = cut(len(arrays["h"]), 2 * V * H, WINDOW_ROWS)
    nats, of_parts = torch.empty(rows.parts, dtype=torch.float64), torch.zeros(rows.parts, V, dtype=torch.float32)
    scratch = kind.size("cross_entropy_scratch", H, V) * kind.dtype.itemsize
    scratch_bytes = kind.size("cross_entropy_logits", V) * FLOAT_BYTES + scratch
    kind.do("cross_entropy", rows, H=H, V=V, **arrays, d_bias=of_parts, nats=nats, scratch_bytes=scratch_bytes)
    d_bias += of_parts.sum(0)
    return sum(nats.tolist())  # in a fixed order, whichever part finishes first

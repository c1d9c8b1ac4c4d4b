"""The native kernel as autograd functions: float32 tensors on the CPU; the fused kernel takes all others.

The derivation is that of `unrolled.kernels.fused`. For the backward pass it saves 6 H numbers per row and time step, in
the kernel's precision: the four gates, the cell state and the hidden state.

T: steps, B: rows, I: input size, H: hidden size, V: rows of a table, N: tokens.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unrolled.kernels.contract import Availability, KernelInput, PreActivations, PreActivationTable, TokenInput
from unrolled.kernels.fused import FusedKernel
from unrolled.kernels.native.gradients import (
    DenseGradient,
    PreActivationGradient,
    TableGradient,
    TokenGradient,
    backward,
)
from unrolled.kernels.native.precision import bfloat16_is_correct, bfloat16_is_fast
from unrolled.kernels.native.softmax import native_cross_entropy
from unrolled.native import DTYPES, GATES, native_library, native_status, native_variant
from unrolled.native.operands import COLUMNS_BY_GATES, Operands, are_within, operands
from unrolled.native.team import cut

KEPT_NUMBERS = 6  # per unit, row and step, for the backward pass
WIDEST = 64  # the packed W is rounded up to a multiple of this many units
FLOAT_BYTES = 4
PREFERRED_FIRST = tuple(reversed(DTYPES))


class NativeKernel:
    """The recurrence in C, each thread with its own rows of the batch; see `lstm.c`.

    Args:
        precision: of the operands of products while training, `float32` or `bfloat16`. Sums, the cell state, the
            derivatives of the states and the weights are float32 in both, as is everything without gradients.
    """

    name = "native"

    def __init__(self, precision: str = "float32") -> None:
        self.precision = precision
        self._otherwise = FusedKernel()

    @staticmethod
    def availability() -> Availability:
        """Name the variant of the library that is in use, or say why none is."""
        return Availability(native_library() is not None, native_status())

    @staticmethod
    def is_made_for(device_type: str) -> bool:
        """See `Kernel.is_made_for`."""
        return device_type == "cpu"

    def precisions(self, device_type: str) -> tuple[str, ...]:
        """See `Kernel.precisions`; those of the fused kernel where it takes over."""
        has_all = self.is_made_for(device_type) and native_library() is not None
        return PREFERRED_FIRST if has_all else self._otherwise.precisions(device_type)

    def objection_to(self, precision: str) -> str | None:
        """See `Kernel.objection_to`."""
        if precision == "bfloat16" and not bfloat16_is_fast():
            return f"the C kernels in use, {native_variant()}, have no instructions for bfloat16"
        if precision == "bfloat16" and not bfloat16_is_correct(type(self)):
            return "bfloat16 gave other numbers when it was checked on this processor"
        return None

    def with_precision(self, precision: str) -> NativeKernel:
        """See `Kernel.with_precision`."""
        if precision not in PREFERRED_FIRST:
            raise ValueError(f"a precision of native is {' or '.join(PREFERRED_FIRST)}, not {precision}")
        return type(self)(precision)

    def run(self, inputs: KernelInput, w_hh: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernel.run`."""
        source, ids, w_ih, bias = _parts(inputs)
        weights = (w_hh,) if w_ih is None else (w_hh, w_ih, bias)
        if native_library() is None or any(_is_foreign(tensor) for tensor in (source, h0, c0, *weights)):
            return self._otherwise.run(inputs, w_hh, h0, c0)
        ids = None if ids is None else _checked(ids, len(source))
        _check_shapes(source, ids, w_ih, bias, w_hh, h0, c0)
        is_trained = _is_trained(source, h0, c0, *weights)
        kind = operands(self.precision if is_trained else "float32")
        h, c_last = _Recurrence.apply(kind, is_trained, source, ids, w_ih, bias, w_hh, h0, c0)
        return h, h[-1], c_last

    def summed_cross_entropy(
        self, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float = 1.0
    ) -> Tensor:
        """See `Kernel.summed_cross_entropy`."""
        tensors = h, weight, bias
        if native_library() is None or not _is_trained(*tensors) or any(_is_foreign(tensor) for tensor in tensors):
            return self._otherwise.summed_cross_entropy(h, weight, bias, targets, scale)
        return native_cross_entropy(operands(self.precision), h, weight, bias, targets, scale)


def _is_trained(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _parts(inputs: KernelInput) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Return source, ids, W_ih and bias; with W_ih, the source is an input or an embedding, else pre-activations."""
    if isinstance(inputs, TokenInput):
        return inputs.embedding, inputs.ids, inputs.w_ih, inputs.bias
    if isinstance(inputs, PreActivationTable):
        return inputs.table, inputs.ids, None, None
    if isinstance(inputs, PreActivations):
        return inputs.values, None, None, None
    return inputs.x, None, inputs.w_ih, inputs.bias


def _is_foreign(tensor: Tensor) -> bool:
    return tensor.dtype != torch.float32 or tensor.device.type != "cpu"


def _check_shapes(
    source: Tensor, ids: Tensor | None, w_ih: Tensor | None, bias: Tensor | None, w_hh: Tensor, h0: Tensor, c0: Tensor
) -> None:
    """Raise a ValueError if the shapes do not match: C would read beyond a tensor's end."""
    (T, B), H = (source if ids is None else ids).shape[:2], w_hh.shape[0]
    shapes = {"w_hh": (w_hh.shape, (H, GATES * H)), "h0": (h0.shape, (B, H)), "c0": (c0.shape, (B, H))}
    if w_ih is None:
        shapes["the input"] = source.shape, (T, B, GATES * H) if ids is None else (len(source), GATES * H)
    else:
        shapes["the input"] = source.shape, (T, B, source.shape[-1]) if ids is None else (len(source), source.shape[-1])
        shapes |= {"w_ih": (w_ih.shape, (source.shape[-1], GATES * H)), "the bias": (bias.shape, (GATES * H,))}
    if ids is not None:
        shapes["ids"] = ids.shape, (T, B)
    wrong = [f"{name} is {tuple(has)}, not {needed}" for name, (has, needed) in shapes.items() if tuple(has) != needed]
    if wrong:
        raise ValueError("; ".join(wrong))
    if max(T * B * KEPT_NUMBERS, GATES * (H + WIDEST)) * (H + WIDEST) * FLOAT_BYTES > sys.maxsize:
        raise ValueError(f"{T} steps of {B} rows of {H} units take more bytes than there are addresses for; use fewer")


def _checked(ids: Tensor, rows: int) -> Tensor:
    """Return ids as C reads them, after a check: C would read foreign memory for an id outside the table."""
    if not are_within(ids, rows):
        raise IndexError(f"an id is outside the table of {rows} rows")
    return ids.to("cpu", torch.int64).contiguous()


class _Recurrence(torch.autograd.Function):
    """A layer as one node. `source` is a table (V, 4H) for ids (T, B), or (T, B, 4H); with w_ih, I replaces 4H."""

    @staticmethod
    def forward(ctx, kind: Operands, is_trained: bool, source, ids, w_ih, bias, w_hh, h0, c0) -> tuple[Tensor, Tensor]:
        (T, B), H = (source if ids is None else ids).shape[:2], w_hh.shape[0]
        x = None if w_ih is None else kind.of(source.flatten(0, 1) if ids is None else source)
        pre = kind.grouped(source) if x is None else _input_product(kind, x, w_ih, bias)
        c_first = kind.grouped_state(c0)
        G, VL = kind.groups(H), kind.vector_length
        gates, cells = (kind.empty(T, G, B, GATES, VL), kind.empty(T, G, B, VL)) if is_trained else (None, None)
        states = kind.empty(T + 1, B, kind.even(H))  # the first is h0
        states[0] = kind.of(h0)
        h = states[1:] if kind.precision == "float32" else torch.empty(T, B, H, dtype=torch.float32)
        c, w = c_first.clone(), kind.pack(w_hh, COLUMNS_BY_GATES, H)

        rows = cut(B, T * GATES * H * H)
        arrays = {"source": pre, "ids": ids, "packed": w.panels, "h0": states[0]}
        arrays |= {"gates": gates, "cells": cells, "states": states[1:], "h": h, "c": c}
        scratch_bytes = kind.size("lstm_scratch", -(-B // rows.parts), kind.even(H)) * kind.dtype.itemsize if B else 0
        kind.do("lstm_forward", rows, T=T, B=B, H=H, **arrays, scratch_bytes=scratch_bytes)
        ctx.save_for_backward(w_hh, states, c_first, gates, cells, ids, x, w_ih)
        ctx.kind, ctx.table_rows = kind, None if ids is None else source.shape[0]
        return h, kind.ungrouped_state(c, H)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h: Tensor, grad_c_last: Tensor):
        kind: Operands = ctx.kind
        w_hh, *kept, ids, x, w_ih = ctx.saved_tensors
        T, B, H = grad_h.shape
        if ids is not None and x is not None:
            source = TokenGradient(kind, ids, x, w_ih)
        elif ids is not None:
            source = TableGradient(kind, ids, ctx.table_rows, H)
        elif x is not None:
            source = DenseGradient(kind, x, w_ih, T, B)
        else:
            source = PreActivationGradient(kind, T, B, H)
        d_w_hh, dh0, dc0 = backward(kind, grad_h.contiguous(), grad_c_last, w_hh, tuple(kept), source)
        d_source, d_w_ih, d_bias = source.result()
        return None, None, d_source, None, d_w_ih, d_bias, d_w_hh, dh0, dc0


def _input_product(kind: Operands, x: Tensor, w_ih: Tensor, bias: Tensor) -> Tensor:
    """Return the grouped pre-activations (N, P) of an input (N, I')."""
    return kind.product(x, kind.pack(w_ih, COLUMNS_BY_GATES, w_ih.shape[1] // GATES), kind.grouped(bias))

"""The native kernel as a node of autograd's graph: float32 on the CPU; anything else goes to the fused kernel.

The derivation is that of `unrolled.kernels.fused`. For the backward pass it keeps 6 H numbers a row and time step: the
four gates, the cell state and the hidden state.

T: steps, B: rows, H: hidden size, V: rows of a table.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unrolled.kernels.contract import KernelInput, TableLookup
from unrolled.kernels.fused import FusedKernel, recurrent_gradients
from unrolled.kernels.native.library import native_library, on_all_rows, packed, pointer

KEPT_NUMBERS = 6  # a unit, row and step, for the backward pass
WIDEST = 64  # units to which the packed W is rounded up
FLOAT_BYTES = 4


class NativeKernel:
    """The recurrence in C, each thread with its own rows of the batch; see `lstm.c`."""

    name = "native"

    def __init__(self) -> None:
        self._otherwise = FusedKernel()

    def run(self, inputs: KernelInput, w_hh: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernel.run`."""
        source = inputs.table if isinstance(inputs, TableLookup) else inputs.values
        if native_library() is None or any(_is_foreign(tensor) for tensor in (source, w_hh, h0, c0)):
            return self._otherwise.run(inputs, w_hh, h0, c0)
        ids = _checked(inputs.ids, len(source)) if isinstance(inputs, TableLookup) else None
        _check_shapes(source, ids, w_hh, h0, c0)
        h, c_last = _Recurrence.apply(source, ids, w_hh, h0, c0)
        return h, h[-1], c_last


def _is_foreign(tensor: Tensor) -> bool:
    return tensor.dtype != torch.float32 or tensor.device.type != "cpu"


def _check_shapes(source: Tensor, ids: Tensor | None, w_hh: Tensor, h0: Tensor, c0: Tensor) -> None:
    """Raise a ValueError where the shapes do not belong together: C would read beyond a tensor's end."""
    H, B = w_hh.shape[0], (source if ids is None else ids).shape[1]
    shapes = {"w_hh": w_hh.shape, "the inputs' last size": source.shape[-1:], "h0": h0.shape, "c0": c0.shape}
    expected = {"w_hh": (H, 4 * H), "the inputs' last size": (4 * H,), "h0": (B, H), "c0": (B, H)}
    wrong = [f"{name} is {tuple(s)}, not {expected[name]}" for name, s in shapes.items() if tuple(s) != expected[name]]
    if wrong:
        raise ValueError("; ".join(wrong))
    T = (source if ids is None else ids).shape[0]
    if max(T * B * KEPT_NUMBERS, 4 * (H + WIDEST)) * H * FLOAT_BYTES > sys.maxsize:
        raise ValueError(f"{T} steps of {B} rows of {H} units take more bytes than there are addresses for; use fewer")


def _checked(ids: Tensor, rows: int) -> Tensor:
    """Return ids as C reads them; an id outside the table would read foreign memory there."""
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < rows:
        raise IndexError(f"an id is outside the table of {rows} rows")
    return ids.to(torch.int64).contiguous()


class _Recurrence(torch.autograd.Function):
    """`source` is (T, B, 4H), or a table (V, 4H) that `ids` (T, B) look up."""

    @staticmethod
    def forward(ctx, source: Tensor, ids: Tensor | None, w_hh: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor]:
        T, B = (source if ids is None else ids).shape[:2]
        H = w_hh.shape[0]
        library = native_library()
        source, h0, c0 = source.contiguous(), h0.contiguous(), c0.contiguous()
        gates, h, c = (source.new_empty(T, B, width) for width in (4 * H, H, H))
        w = packed(library, w_hh, transposed=False)
        arrays = [pointer(tensor) for tensor in (source, ids, w, h0, c0, gates, h, c)]
        on_all_rows(B, lambda first, last: library.lstm_forward(T, B, H, first, last, *arrays))
        ctx.save_for_backward(w_hh, h0, c0, gates, h, c, *(() if ids is None else (ids,)))
        ctx.table_rows = None if ids is None else source.shape[0]
        return h, c[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h: Tensor, grad_c_last: Tensor):
        w_hh, h0, c0, gates, h, c, *ids = ctx.saved_tensors
        T, B, H = h.shape
        library = native_library()
        grad_h, w = grad_h.contiguous(), packed(library, w_hh, transposed=True)
        d_gates, dh = torch.empty_like(gates), torch.zeros_like(h0)
        dc = grad_c_last.clone(memory_format=torch.contiguous_format)
        arrays = [pointer(tensor) for tensor in (grad_h, w, gates, c, c0, dh, dc, d_gates)]
        on_all_rows(B, lambda first, last: library.lstm_backward(T, B, H, first, last, *arrays))
        d_source, d_w_hh = recurrent_gradients(d_gates, h0, h, ids[0] if ids else None, ctx.table_rows)
        return d_source, None, d_w_hh, dh, dc

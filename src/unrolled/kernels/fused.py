"""The LSTM with a hand-derived backward pass.

Forward, for t = 1..T:   a_t = p_t + h_{t-1} W        p_t: x_t W_ih + b, one product for all steps
                         i, f, o = sigmoid(a)   g = tanh(a)   c_t = f c_{t-1} + i g   h_t = o tanh(c_t)

Backward. Let E be the loss, dh_t the total derivative of E by h_t (from above, `grad_h[t]`, and from step t+1), dc_t
that by c_t. For t = T..1, with s' = s(1-s) for a sigmoid s and u' = 1-u^2 for a tanh u:

    dh_t  = grad_h[t] + da_{t+1} W^T
    da_o  = dh_t tanh(c_t) o(1-o)
    dc_t  = dc_{t+1} f_{t+1} + dh_t o (1 - tanh(c_t)^2)
    da_i  = dc_t g i(1-i)        da_f = dc_t c_{t-1} f(1-f)        da_g = dc_t i (1-g^2)

and since every step uses the same W:   dW = sum_t h_{t-1}^T da_t, one product over all steps and rows at the end.

Only the recurrent product and a few elementwise operations remain inside the loop over time. The factors that depend
on the forward pass alone are computed beforehand, a block of steps at a time, so that they are still in the cache when
they are used.

On a CPU the two loops are compiled by TorchScript, because they then run without Python's lock: each thread takes its
own rows of the batch through all steps, and the threads synchronize only at the end.
T: steps, B: rows, H: hidden size. The gates are in the order i f g o.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unrolled.kernels.contract import Availability, KernelInput, PreActivationTable, precompute_inputs
from unrolled.kernels.precision import Float32Only
from unrolled.kernels.softmax import summed_cross_entropy
from unrolled.native import GATES
from unrolled.native.threads import parts_of, run_parts, torchs_openmp

BLOCK_STEPS = 8  # steps whose backward factors are computed together; a block of 64 x 256 gates fits in a core's L2
FEWEST_ROWS = 8  # per thread: a product of fewer is not worth it


class FusedKernel(Float32Only):
    """Hand-derived backward pass, input products precomputed, weight gradient in one product."""

    name = "fused"

    @staticmethod
    def availability() -> Availability:
        """See `Kernel.availability`."""
        return Availability(True, "the derivative by hand, on any device")

    @staticmethod
    def is_made_for(device_type: str) -> bool:
        """See `Kernel.is_made_for`."""
        return True

    def run(self, inputs: KernelInput, w_hh: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernel.run`."""
        inputs = precompute_inputs(inputs)
        if isinstance(inputs, PreActivationTable):
            h, c_last = _Recurrence.apply(inputs.table, inputs.ids, w_hh, h0, c0)
        else:
            h, c_last = _Recurrence.apply(inputs.values, None, w_hh, h0, c0)
        return h, h[-1], c_last

    def summed_cross_entropy(
        self, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float = 1.0
    ) -> Tensor:
        """See `Kernel.summed_cross_entropy`."""
        return summed_cross_entropy(h, weight, bias, targets, scale)


class _Recurrence(torch.autograd.Function):
    """The recurrence as one node of the graph; `source` is (T, B, 4H), or a table (V, 4H) looked up by `ids` (T, B)."""

    @staticmethod
    def forward(ctx, source: Tensor, ids: Tensor | None, w_hh: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor]:
        T, (B, H) = len(source if ids is None else ids), h0.shape
        h, c, tanh_c = (h0.new_empty(T, B, H) for _ in range(3))
        w_by_gate = w_hh.detach().view(H, GATES, H).transpose(0, 1).contiguous()  # (4, H, H)
        gates: dict[tuple[int, int], Tensor] = {}  # by the rows of a part: (T, 4, rows, H)
        forward = compiled(forward_loop) if h0.device.type == "cpu" else forward_loop

        def run(first: int, last: int) -> None:
            rows = slice(first, last)
            looked_up = (source[:, rows], None) if ids is None else (source, ids[:, rows])
            gates[first, last] = _inputs_by_gate(*looked_up, H)
            states = (tensor.detach()[:, rows] for tensor in (h, c, tanh_c))
            forward(gates[first, last], w_by_gate, h0.detach()[rows], c0.detach()[rows], *states)

        ctx.parts = _parts_of_rows(B, h0.device)
        run_parts(ctx.parts, _without_gradients(run))
        ctx.save_for_backward(w_hh, h0, c0, h, c, tanh_c, ids, *(gates[part] for part in ctx.parts))
        ctx.table_rows = None if ids is None else source.shape[0]
        return h, c[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h: Tensor, grad_c_last: Tensor):
        w_hh, h0, c0, h, c, tanh_c, ids, *gates = (None if t is None else t.detach() for t in ctx.saved_tensors)
        T, B, H = h.shape
        gates_of = dict(zip(ctx.parts, gates, strict=True))
        d_gates, dh, dc = grad_h.new_empty(T, B, GATES * H), c0.new_zeros(B, H), grad_c_last.clone()
        w_hh_t = w_hh.t().contiguous()  # (4H, H)
        backward = compiled(backward_loop) if h0.device.type == "cpu" else backward_loop

        def run(first: int, last: int) -> None:
            rows = slice(first, last)
            kept = gates_of[first, last], c0[rows], c[:, rows], tanh_c[:, rows]
            backward(grad_h[:, rows], w_hh_t, *kept, d_gates[:, rows], dh[rows], dc[rows], BLOCK_STEPS)

        run_parts(ctx.parts, _without_gradients(run))
        d_source, d_w_hh = recurrent_gradients(d_gates, h0, h, ids, ctx.table_rows)
        return d_source, None, d_w_hh, dh, dc


def _parts_of_rows(B: int, device: torch.device) -> list[tuple[int, int]]:
    """Return the rows of each thread; a single part where PyTorch's operations would start threads of their own."""
    is_split = device.type == "cpu" and torchs_openmp() is not None
    return parts_of(B, FEWEST_ROWS) if is_split else [(0, B)]


@cache
def compiled(loop: Callable[..., None]) -> Callable[..., None]:
    """Return a loop over time that runs without Python's lock; the loop itself in a PyTorch without TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(loop) if hasattr(torch.jit, "script") else loop


def _without_gradients(run: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Wrap `run` for other threads: PyTorch enables autograd in each new thread, regardless of the calling one."""
    is_inference = torch.is_inference_mode_enabled()  # its tensors can be written only in that mode

    def unrecorded(first: int, last: int) -> None:
        with torch.inference_mode(is_inference), torch.no_grad():
            run(first, last)

    return unrecorded


def recurrent_gradients(
    d_gates: Tensor, h0: Tensor, h: Tensor, ids: Tensor | None, table_rows: int | None
) -> tuple[Tensor, Tensor]:
    """Return the derivatives by the source of the pre-activations and by W_hh, given those by the pre-activations.

    Args:
        d_gates: da, (T, B, 4H).
        h0: hidden state before the first step, (B, H).
        h: hidden states, (T, B, H).
        ids: (T, B) if the source is a table of `table_rows` rows.
    """
    flat = d_gates.flatten(0, 1)  # (T*B, 4H)
    d_w_hh = torch.addmm(h0.t() @ d_gates[0], h[:-1].flatten(0, 1).t(), flat[len(h0) :])
    return d_gates if ids is None else _scatter_rows(flat, ids.flatten(), table_rows), d_w_hh


def forward_loop(
    gates: Tensor, w_by_gate: Tensor, h0: Tensor, c0: Tensor, h: Tensor, c: Tensor, tanh_c: Tensor
) -> None:
    """Run the forward pass: `gates` (T, 4, B, H) holds the input's pre-activations, and is overwritten by the gates.

    Fills h, c and tanh_c, (T, B, H) each. Each gate has its own matrix product, with its part of W (4, H, H).
    """
    h_before, c_before = h0, c0
    minus_one = torch.full([], -1.0, dtype=h0.dtype, device=h0.device)
    for t in range(gates.size(0)):
        a = gates[t]
        i, f, g, o = a[0], a[1], a[2], a[3]
        a.baddbmm_(h_before.expand(4, -1, -1), w_by_gate)
        g.mul_(2.0)  # tanh(x) = 2 sigmoid(2x) - 1: one sigmoid serves all four gates, and is 4 times as fast as tanh
        a.sigmoid_()
        torch.add(minus_one, g, alpha=2.0, out=g)
        torch.mul(f, c_before, out=c[t]).addcmul_(i, g)
        torch.mul(c[t], 2.0, out=tanh_c[t]).sigmoid_()
        torch.add(minus_one, tanh_c[t], alpha=2.0, out=tanh_c[t])
        torch.mul(o, tanh_c[t], out=h[t])
        h_before, c_before = h[t], c[t]


def _inputs_by_gate(source: Tensor, ids: Tensor | None, H: int) -> Tensor:
    """Return the input's pre-activations, (T, 4, B, H), in a new tensor, which the gates will overwrite."""
    if ids is None:
        return source.unflatten(-1, (GATES, H)).transpose(1, 2).clone(memory_format=torch.contiguous_format)
    rows = GATES * ids.unsqueeze(1) + torch.arange(GATES, device=ids.device).view(
        GATES, 1
    )  # (T, 4, B): of a table (4V, H)
    return source.reshape(-1, H).index_select(0, rows.flatten()).view(*rows.shape, H)


def backward_loop(
    grad_h: Tensor,
    w_hh_t: Tensor,
    gates: Tensor,
    c0: Tensor,
    c: Tensor,
    tanh_c: Tensor,
    d_gates: Tensor,
    dh: Tensor,
    dc: Tensor,
    block_steps: int,
) -> None:
    """Run the backward pass: fills d_gates (T, B, 4H).

    dh and dc (B, H) hold at the head of the loop what comes from step t+1, at the end the derivatives by h0 and c0.
    A number times s(1-s) or 1-u^2 is PyTorch's backward pass of sigmoid or tanh: a single pass over memory.
    """
    T, B, H = grad_h.size(0), grad_h.size(1), grad_h.size(2)
    for last in range(T, 0, -block_steps):
        first = max(last - block_steps, 0)
        i, f, g, o = gates[first:last].unbind(1)
        c_before = c[first - 1 : last - 1] if first > 0 else torch.cat((c0.unsqueeze(0), c[: last - 1]))
        da_per_dc = torch.empty([last - first, B, 3, H], dtype=f.dtype, device=f.device)
        torch.ops.aten.sigmoid_backward(g, i, grad_input=da_per_dc[:, :, 0])
        torch.ops.aten.sigmoid_backward(c_before, f, grad_input=da_per_dc[:, :, 1])
        torch.ops.aten.tanh_backward(i, g, grad_input=da_per_dc[:, :, 2])
        dc_per_dh = torch.ops.aten.tanh_backward(o, tanh_c[first:last])
        da_o_per_dh = torch.ops.aten.sigmoid_backward(tanh_c[first:last], o)
        for t in range(last - 1, first - 1, -1):
            da = d_gates[t].view(B, 4, H)
            dh.add_(grad_h[t])
            torch.mul(dh, da_o_per_dh[t - first], out=da[:, 3])
            dc.addcmul_(dh, dc_per_dh[t - first])
            torch.mul(dc.unsqueeze(1), da_per_dc[t - first], out=da[:, :3])
            torch.mm(d_gates[t], w_hh_t, out=dh)
            dc.mul_(f[t - first])


def _scatter_rows(values: Tensor, ids: Tensor, rows: int) -> Tensor:
    """Sum the rows of `values` (N, D) that share an id into a table (rows, D)."""
    return values.new_zeros(rows, values.shape[1]).index_add_(0, ids, values)

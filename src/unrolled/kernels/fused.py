"""The LSTM with its backward pass derived by hand.

Forward, for t = 1..T:   a_t = p_t + h_{t-1} W        p_t: the input's share, hoisted into one product outside the loop
                         i, f, o = sigmoid(a)   g = tanh(a)   c_t = f c_{t-1} + i g   h_t = o tanh(c_t)

Backward. Let E be the loss, dh_t the whole derivative of E by h_t (from above, `grad_h[t]`, and from step t+1), dc_t
that by c_t. For t = T..1, with s' = s(1-s) for a sigmoid s and u' = 1-u^2 for a tanh u:

    dh_t  = grad_h[t] + da_{t+1} W^T
    da_o  = dh_t tanh(c_t) o(1-o)
    dc_t  = dc_{t+1} f_{t+1} + dh_t o (1 - tanh(c_t)^2)
    da_i  = dc_t g i(1-i)        da_f = dc_t c_{t-1} f(1-f)        da_g = dc_t i (1-g^2)

and since every step uses the same W:   dW = sum_t h_{t-1}^T da_t, one product over all steps and rows at the end.

Only the recurrent product and a handful of elementwise operations stay inside the loop over time. The factors that
depend on the forward pass alone are computed before it, a block of steps at a time so that they are still in the cache
when used.
T: steps, B: rows, H: hidden size. Gates stand in the columns in the order i f g o.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unrolled.kernels.contract import KernelInput, TableLookup

BLOCK_STEPS = 8  # steps whose backward factors are computed together; a block of 64 x 256 gates fits in a core's L2


class FusedKernel:
    """Hand-derived backward, input products hoisted, weight gradient in one product."""

    name = "fused"

    def run(self, inputs: KernelInput, w_hh: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernel.run`."""
        if isinstance(inputs, TableLookup):
            h, c_last = _Recurrence.apply(inputs.table, inputs.ids, w_hh, h0, c0)
        else:
            h, c_last = _Recurrence.apply(inputs.values, None, w_hh, h0, c0)
        return h, h[-1], c_last


class _Recurrence(torch.autograd.Function):
    """The recurrence as one node of the graph; `source` is (T, B, 4H), or a table (V, 4H) that `ids` (T, B) look up."""

    @staticmethod
    def forward(ctx, source: Tensor, ids: Tensor | None, w_hh: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor]:
        gates, h, c, tanh_c = _forward(source, ids, w_hh, h0, c0)
        ctx.save_for_backward(w_hh, h0, c0, gates, h, c, tanh_c, *(() if ids is None else (ids,)))
        ctx.table_rows = None if ids is None else source.shape[0]
        return h, c[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h: Tensor, grad_c_last: Tensor):
        w_hh, h0, c0, gates, h, c, tanh_c, *ids = ctx.saved_tensors
        d_gates, dh0, dc0 = _backward(grad_h, grad_c_last, w_hh, c0, gates, c, tanh_c)
        d_source, d_w_hh = recurrent_gradients(d_gates, h0, h, ids[0] if ids else None, ctx.table_rows)
        return d_source, None, d_w_hh, dh0, dc0


def recurrent_gradients(
    d_gates: Tensor, h0: Tensor, h: Tensor, ids: Tensor | None, table_rows: int | None
) -> tuple[Tensor, Tensor]:
    """Return the derivatives by the source of the pre-activations and by W_hh, from those by the pre-activations.

    Args:
        d_gates: da, (T, B, 4H).
        h0: hidden state before the first step, (B, H).
        h: hidden states, (T, B, H).
        ids: (T, B) where the source is a table of `table_rows` rows.
    """
    flat = d_gates.flatten(0, 1)  # (T*B, 4H)
    h_before = torch.cat((h0.unsqueeze(0), h[:-1])).flatten(0, 1)  # (T*B, H): h_{t-1}
    d_source = d_gates if ids is None else _scatter_rows(flat, ids.flatten(), table_rows)
    return d_source, h_before.t() @ flat


def _forward(
    source: Tensor, ids: Tensor | None, w_hh: Tensor, h0: Tensor, c0: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return activated gates (T, 4, B, H), h, c and tanh(c), (T, B, H) each.

    Each gate has a matrix product of its own: four small ones at once keep several threads busier than one wide one.
    """
    gates = _inputs_by_gate(source, ids, h0.shape[-1])
    T, _, B, H = gates.shape
    h, c, tanh_c = (h0.new_empty(T, B, H) for _ in range(3))
    w_by_gate = w_hh.view(H, 4, H).transpose(0, 1).contiguous()  # (4, H, H)
    h_before, c_before = h0, c0
    for a, c_t, tanh_c_t, h_t in zip(gates, c, tanh_c, h, strict=True):
        a.baddbmm_(h_before.expand(4, B, H), w_by_gate)
        i, f, g, o = a
        g.mul_(2)  # tanh(x) = 2 sigmoid(2x) - 1: one sigmoid serves all four gates, and is 4 times as fast as tanh
        a.sigmoid_()
        g.mul_(2).sub_(1)
        torch.mul(f, c_before, out=c_t).addcmul_(i, g)
        torch.tanh(c_t, out=tanh_c_t)
        torch.mul(o, tanh_c_t, out=h_t)
        h_before, c_before = h_t, c_t
    return gates, h, c, tanh_c


def _inputs_by_gate(source: Tensor, ids: Tensor | None, H: int) -> Tensor:
    """Return the input's share of the pre-activations, (T, 4, B, H): a new tensor, which the gates then take over."""
    if ids is None:
        return source.unflatten(-1, (4, H)).transpose(1, 2).clone(memory_format=torch.contiguous_format)
    rows = 4 * ids.unsqueeze(1) + torch.arange(4, device=ids.device).view(4, 1)  # (T, 4, B): of a table (4V, H)
    return source.reshape(-1, H).index_select(0, rows.flatten()).view(*rows.shape, H)


def _backward(
    grad_h: Tensor, grad_c_last: Tensor, w_hh: Tensor, c0: Tensor, gates: Tensor, c: Tensor, tanh_c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives by the pre-activations (T, B, 4H), by h0 and by c0, (B, H) each."""
    T, B, H = c.shape
    d_gates = gates.new_empty(T, B, 4 * H)
    d_by_gate = d_gates.view(T, B, 4, H)
    by_step = grad_h, gates[:, 1], d_gates, d_by_gate[:, :, :3], d_by_gate[:, :, 3]
    w_hh_t = w_hh.t().contiguous()  # (4H, H)
    dh, dc = c0.new_zeros(B, H), grad_c_last.clone()  # at the head of the loop: what comes from step t+1
    for start in reversed(range(0, T, BLOCK_STEPS)):
        block = slice(start, min(start + BLOCK_STEPS, T))
        factors = _local_factors(gates[block], _states_before(block, c0, c), tanh_c[block])
        steps = zip(*(tensor[block] for tensor in by_step), *factors, strict=True)
        for grad_h_t, f, da, da_ifg, da_o, da_per_dc, dc_per_dh, da_o_per_dh in reversed(list(steps)):
            dh.add_(grad_h_t)
            torch.mul(dh, da_o_per_dh, out=da_o)
            dc.addcmul_(dh, dc_per_dh)
            torch.mul(dc.unsqueeze(1), da_per_dc, out=da_ifg)
            torch.mm(da, w_hh_t, out=dh)
            dc.mul_(f)
    return d_gates, dh, dc


def _states_before(steps: slice, first: Tensor, states: Tensor) -> Tensor:
    """Return the states before the given steps; `first` (B, H) is the one before `states` (T, B, H)."""
    earlier = states[max(steps.start - 1, 0) : steps.stop - 1]
    return earlier if steps.start else torch.cat((first.unsqueeze(0), earlier))


def _local_factors(gates: Tensor, c_before: Tensor, tanh_c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for a block of K steps, da_{i,f,g}/dc (K, B, 3, H), dc/dh and da_o/dh, (K, B, H) each."""
    i, f, g, o = gates.unbind(1)
    da_per_dc = gates.new_empty(*i.shape[:2], 3, i.shape[2])
    torch.mul(i - i * i, g, out=da_per_dc[:, :, 0])
    torch.mul(f - f * f, c_before, out=da_per_dc[:, :, 1])
    torch.mul(1 - g * g, i, out=da_per_dc[:, :, 2])
    h = o * tanh_c
    return da_per_dc, torch.addcmul(o, h, tanh_c, value=-1), torch.addcmul(h, h, o, value=-1)


def _scatter_rows(values: Tensor, ids: Tensor, rows: int) -> Tensor:
    """Sum the rows of `values` (N, D) that share an id into a table (rows, D)."""
    return values.new_zeros(rows, values.shape[1]).index_add_(0, ids, values)

"""Output layer, softmax and cross-entropy in one, a block of tokens at a time.

    z = h W^T + b        loss = sum_n (log sum_v exp z_nv - z_n,target)        dz = softmax(z) - onehot(target)
    dh = dz W            dW = dz^T h                                            db = sum_n dz_n

The loss is a sum, so dz of a block is known as soon as its logits are: the derivatives are computed in the forward pass
and only scaled in the backward pass. The logits of a whole window, by far the largest tensor of a word model, are never
stored, and each block is still in the cache when it is used again.
N: tokens, V: vocabulary, H: hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_NUMBERS = 2**18  # logits of a block: a megabyte
FEWEST_BLOCK_TOKENS = 256  # with fewer, reading W takes longer than multiplying by it
IGNORED = -100  # as a target: not counted, as in torch.nn.functional.cross_entropy


def summed_cross_entropy(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float = 1.0) -> Tensor:
    """Return the summed cross-entropy in nats, a scalar.

    Args:
        h: hidden states, (N, H).
        weight: of the output layer, (V, H).
        bias: of the output layer, (V,).
        targets: tokens (N,), or `IGNORED`.
        scale: factor of the sum.
    """
    is_trained = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (h, weight, bias))
    return _SummedCrossEntropy.apply(h, weight, bias, targets, scale, is_trained)


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float, is_trained: bool
    ) -> Tensor:
        total = h.new_zeros(())
        d_h, d_weight, d_bias = (torch.zeros_like(t) if is_trained else t for t in (h, weight, bias))
        size = max(FEWEST_BLOCK_TOKENS, BLOCK_NUMBERS // len(weight))
        for start in range(0, len(h), size):
            block = slice(start, start + size)
            nats, dz = _loss_and_dz(torch.addmm(bias, h[block], weight.t()), targets[block])
            total += nats
            if is_trained:
                torch.mm(dz, weight, out=d_h[block])
                d_weight.addmm_(dz.t(), h[block])
                d_bias += dz.sum(0)
        ctx.save_for_backward(d_h, d_weight, d_bias)
        ctx.scale = scale
        return total * scale

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss: Tensor):
        factor = grad_loss * ctx.scale
        return *(derivative * factor for derivative in ctx.saved_tensors), None, None, None


def _loss_and_dz(z: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return a block's loss and its derivative by the logits z (n, V)."""
    counts = targets != IGNORED
    chosen = targets.clamp(min=0).unsqueeze(1)
    log_p = torch.log_softmax(z, 1)
    nats = -(log_p.gather(1, chosen).squeeze(1) * counts).sum()
    dz = log_p.exp_()
    dz.scatter_add_(1, chosen, dz.new_full((len(dz), 1), -1.0))
    return nats, dz if counts.all() else dz * counts.unsqueeze(1)

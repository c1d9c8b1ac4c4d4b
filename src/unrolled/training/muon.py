"""Muon: momentum whose every update is made orthogonal (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

    M <- beta M + (1 - beta) G        N = (1 - beta) G + beta M        (Nesterov)
    W <- W - rate * sqrt(max(1, H / I)) * orthogonal(N)

orthogonal(N) is the nearest matrix whose singular values are all 1, U V^T where N = U S V^T: a step of the same length
in every direction, not only in the few that dominate the gradient. It comes from a Newton-Schulz iteration, which needs
products only.

An LSTM's weights are four matrices side by side, one a gate, that live on different scales: each is made orthogonal by
itself. Treated as one (I, 4H) matrix, the gate with the largest gradient would leave nothing for the others.
I: input size, H: hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

GATES = 4
ITERATIONS = 5
A, B, C = 3.4445, -4.7750, 2.0315  # Jordan's coefficients: steepest at 0; singular values end between 0.7 and 1.2


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for the weights of LSTM layers, (I, 4H) each.

    Args:
        parameters: matrices of four gates side by side.
        lr: learning rate; an update has singular values of about `lr`, times sqrt(H / I) where H > I.
        momentum: share of the old momentum that is kept, beta.
        weight_decay: decoupled weight decay.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Make one step with the gradients that the parameters hold."""
        for group in self.param_groups:
            for weight in group["params"]:
                self._update(weight, **{name: group[name] for name in ("lr", "momentum", "weight_decay")})

    def _update(self, weight: Tensor, lr: float, momentum: float, weight_decay: float) -> None:
        kept = self.state[weight]
        if not kept:
            kept["momentum"] = torch.zeros_like(weight)
        average = kept["momentum"].lerp_(weight.grad, 1 - momentum)
        ahead = weight.grad.lerp(average, momentum)
        I, H = weight.shape[0], weight.shape[1] // GATES
        gates = orthogonal(ahead.view(I, GATES, H).transpose(0, 1))  # (4, I, H)
        weight.mul_(1 - lr * weight_decay)
        weight.view(I, GATES, H).transpose(0, 1).add_(gates, alpha=-lr * math.sqrt(max(1.0, H / I)))


def orthogonal(matrices: Tensor) -> Tensor:
    """Return the nearest matrices (N, R, C) with singular values near 1, by Newton-Schulz iteration.

        X <- a X + (b X X^T + c (X X^T)^2) X        which acts on each singular value s as  a s + b s^3 + c s^5

    The iteration starts from singular values of at most 1: the Frobenius norm bounds the largest.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices  # the smaller side first: X X^T is as small as can be
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    for _ in range(ITERATIONS):
        xx = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(xx, xx, xx, beta=B, alpha=C), x, beta=A)
    return x.transpose(1, 2) if tall else x

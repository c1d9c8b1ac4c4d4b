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

from unrolled.native import GATES
from unrolled.native.newton_schulz import native_orthogonal

# a, b and c of each iteration: of all such polynomials the nearest to 1 where the iteration before has left singular
# values (Amsel et al. 2025, https://arxiv.org/abs/2505.16932), the first between 0.01 and 1. All of those end between
# 0.73 and 1.27; Jordan's five iterations of one polynomial begin at 0.0015 and leave 0.68 to 1.20.
ITERATIONS = (
    (8.093369, -23.620432, 17.446153),
    (3.636586, -2.721927, 0.536546),
    (2.661300, -1.977155, 0.452616),
)


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for the weights of LSTM layers, (I, 4H) each.

    Args:
        parameters: matrices of four gates side by side.
        lr: learning rate; an update has singular values of about `lr`, times sqrt(H / I) where H > I.
        momentum: fraction of the old momentum that is kept, beta.
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

    The iteration starts from singular values of at most 1. What bounds the largest is ||X X^T||^(1/2), the fourth root
    of the sum of their fourth powers: much closer than ||X||, and the first iteration needs X X^T anyway.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices  # the smaller side first: X X^T is as small as can be
    found = native_orthogonal(x, ITERATIONS)
    x = newton_schulz(x) if found is None else found
    return x.transpose(1, 2) if tall else x


def newton_schulz(x: Tensor) -> Tensor:
    """Iterate as `orthogonal` says, for matrices (N, R, C) with R <= C."""
    x = x / x.abs().amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)  # fourth powers overflow soon
    xx = x @ x.transpose(1, 2)
    bound = xx.norm(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    x, xx = x / bound.sqrt(), xx / bound
    for k, (a, b, c) in enumerate(ITERATIONS):
        xx = x @ x.transpose(1, 2) if k else xx
        x = torch.baddbmm(x, torch.baddbmm(xx, xx, xx, beta=b, alpha=c), x, beta=a)
    return x

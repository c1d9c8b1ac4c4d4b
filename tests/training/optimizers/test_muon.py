"""Muon against PyTorch's own on the separate matrices of the gates, and its iteration against singular values."""

import math

import pytest
import torch

from unrolled.training.optimizers import muon
from unrolled.training.optimizers.muon import Muon, orthogonal

I, H = 5, 9


def random(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def quintics(s):
    for a, b, c in muon.ITERATIONS:
        s = a * s + b * s**3 + c * s**5
    return s


def jordans(matrices):
    """The iteration of PyTorch's Muon."""
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        xx = x @ x.mT
        x = 3.4445 * x + (-4.7750 * xx + 2.0315 * xx @ xx) @ x
    return x


@pytest.mark.parametrize(("rows", "columns"), [(4, 7), (7, 4), (6, 6), (1, 3)])
def test_the_iteration_acts_on_singular_values_alone(rows, columns):
    matrices = random(3, rows, columns)
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    normed = s / (s**4).sum(1, keepdim=True) ** 0.25
    torch.testing.assert_close(orthogonal(matrices), u @ torch.diag_embed(quintics(normed)) @ vh, rtol=1e-9, atol=1e-9)


def test_each_polynomial_is_the_nearest_to_one_where_the_last_left_the_singular_values():
    # a quintic with three free coefficients is the nearest if its error takes its largest size four times, with signs
    # in turn (Chebyshev): between the ends and at two places where the polynomial is level
    left = torch.cat([torch.logspace(-2, 0, 100_001, dtype=torch.float64), torch.linspace(0.01, 1, 100_001)]).sort()[0]
    for a, b, c in muon.ITERATIONS:
        s = torch.linspace(left.min().item(), left.max().item(), 200_001, dtype=torch.float64)
        error = 1 - (a * s + b * s**3 + c * s**5)
        most = error.abs().max()
        extreme = error[error.abs() > 0.999 * most].sign()
        assert int((extreme[1:] != extreme[:-1]).sum()) == 3
        left = a * left + b * left**3 + c * left**5
    assert 0.73 < left.min() < left.max() < 1.27


def test_every_direction_of_a_square_matrix_gets_a_step_of_about_the_same_length():
    lengths = torch.linalg.svdvals(orthogonal(random(2, 64, 64).float()))
    assert lengths[:, : 64 * 9 // 10].min() > 0.6
    assert lengths.max() < 1.3


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e30])
def test_the_length_of_a_gradient_does_not_matter_not_even_where_its_square_overflows(scale):
    matrices = random(2, 8, 8).float()
    torch.testing.assert_close(orthogonal(matrices * scale), orthogonal(matrices), rtol=0, atol=1e-4)


def test_a_gradient_of_nothing_moves_nothing():
    assert orthogonal(torch.zeros(2, 3, 4)).abs().max() == 0


@pytest.mark.parametrize("rows", [I, H, 17])
def test_three_steps_with_pytorchs_iteration_equal_its_muon_on_each_gate(rows, monkeypatch):
    monkeypatch.setattr(muon, "orthogonal", jordans)
    start, gradients = random(rows, 4 * H, seed=2), [random(rows, 4 * H, seed=k) for k in (3, 4, 5)]
    ours = start.clone().requires_grad_()
    theirs = [gate.t().clone().requires_grad_() for gate in start.chunk(4, dim=1)]  # (H, I), as nn.Linear has them
    optimizer = Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.3)
    rival = torch.optim.Muon(theirs, lr=0.1, momentum=0.9, weight_decay=0.3, nesterov=True, adjust_lr_fn="original")
    for gradient in gradients:
        ours.grad = gradient.clone()
        optimizer.step()
        for gate, part in zip(theirs, gradient.chunk(4, dim=1), strict=True):
            gate.grad = part.t().clone()
        rival.step()
    moved = math.sqrt(3) * 0.1  # theirs iterates in bfloat16, so it agrees to a few hundredths of a step
    torch.testing.assert_close(ours.detach(), torch.cat([g.detach().t() for g in theirs], 1), rtol=0, atol=0.05 * moved)


def test_a_gate_with_a_large_gradient_takes_nothing_from_the_others():
    small, large = random(I, 4 * H, seed=6), random(I, 4 * H, seed=6)
    large[:, :H] *= 1000
    weights = [torch.zeros(I, 4 * H, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    for weight, gradient in zip(weights, (small, large), strict=True):
        weight.grad = gradient
        Muon([weight], lr=1.0).step()
    torch.testing.assert_close(weights[0].detach(), weights[1].detach(), rtol=1e-9, atol=1e-9)

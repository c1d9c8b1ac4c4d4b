"""The end of a training step against torch's linear layer and cross-entropy."""

import pytest
import torch
from torch.nn import functional

from unrolled.kernels import softmax
from unrolled.kernels.softmax import IGNORED, summed_cross_entropy

N, H, V = 23, 5, 7


@pytest.fixture(params=[1, 4, 23, 10_000])
def block_tokens(request, monkeypatch):
    """Cut the tokens into blocks of one, of four with a rest, or not at all."""
    monkeypatch.setattr(softmax, "FEWEST_BLOCK_TOKENS", request.param)
    monkeypatch.setattr(softmax, "BLOCK_NUMBERS", 1)


def inputs(ignored=()):
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((N, H), (V, H), (V,))]
    targets = torch.randint(V, (N,), generator=generator)
    targets[list(ignored)] = IGNORED
    return [tensor.requires_grad_() for tensor in tensors], targets


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("ignored", [(), (0, 3, 22), range(N)])
def test_loss_and_derivatives_equal_those_of_separate_steps(block_tokens, ignored, scale):
    tensors, targets = inputs(ignored)
    loss = summed_cross_entropy(*tensors, targets, scale)
    expected = scale * functional.cross_entropy(functional.linear(*tensors), targets, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    derivatives = torch.autograd.grad(3 * loss, tensors)
    for one, other in zip(derivatives, torch.autograd.grad(3 * expected, tensors), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_without_gradients_only_the_loss_is_computed(block_tokens, monkeypatch):
    tensors, targets = inputs()
    expected = summed_cross_entropy(*tensors, targets)
    monkeypatch.setattr(torch, "mm", None)
    with torch.no_grad():
        loss = summed_cross_entropy(*tensors, targets)
    assert torch.equal(loss, expected)
    assert not loss.requires_grad


def test_what_is_kept_does_not_grow_with_the_vocabulary():
    kept = []
    h = torch.randn(64, H, requires_grad=True)
    weight, bias = torch.randn(1000, H, requires_grad=True), torch.zeros(1000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        summed_cross_entropy(h, weight, bias, torch.zeros(64, dtype=torch.int64))
    assert kept == [h.shape, weight.shape, bias.shape]  # their derivatives; no logits (64, 1000)


def test_a_retained_graph_allows_a_second_backward_pass():
    tensors, targets = inputs()
    loss = 3 * summed_cross_entropy(*tensors, targets)
    first = torch.autograd.grad(loss, tensors, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, tensors), strict=True):
        assert torch.equal(one, other)

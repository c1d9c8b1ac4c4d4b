"""Every kernel against torch.nn.LSTM: outputs, states and all gradients.

Pre-activations stand in for inputs: torch's LSTM is given 4H of them, the identity as its input weights and no bias, so
that the gradient by its input is the gradient by the pre-activations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrolled.kernels import PreActivations, PreActivationTable, available_kernels, lstm_step

KERNELS = list(available_kernels().values())
VOCABULARY = 7
TOLERANCE = {"rtol": 0, "atol": 1e-10}

every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
every_kind = pytest.mark.parametrize("kind", ["projected", "table"])


@dataclass
class Problem:
    """Leaves that require gradients, and the weights of a loss over everything that a kernel returns."""

    source: Tensor  # (T, B, 4H), or a table (V, 4H)
    ids: Tensor | None  # (T, B) for a table
    w_hh: Tensor  # (H, 4H)
    h0: Tensor  # (B, H)
    c0: Tensor  # (B, H)
    weights: tuple[Tensor, Tensor, Tensor]  # of h (T, B, H), of the last h and c (B, H)

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return self.source, self.w_hh, self.h0, self.c0

    def inputs(self, steps: slice = slice(None)) -> PreActivations | PreActivationTable:
        if self.ids is None:
            return PreActivations(self.source[steps])
        return PreActivationTable(self.source, self.ids[steps])


def problem(kind: str, T: int, B: int, H: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Problem:
    generator = torch.Generator().manual_seed(1000 * T + 100 * B + H + seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).to(dtype)

    ids = None if kind == "projected" else torch.randint(VOCABULARY, (T, B), generator=generator)
    source = normal(T, B, 4 * H) if ids is None else normal(VOCABULARY, 4 * H)
    leaves = source, normal(H, 4 * H, scale=1 / math.sqrt(H)), normal(B, H), normal(B, H)
    for leaf in leaves:
        leaf.requires_grad_()
    return Problem(leaves[0], ids, *leaves[1:], weights=(normal(T, B, H), normal(B, H), normal(B, H)))


def run(kernel, p: Problem) -> tuple[Tensor, Tensor, Tensor]:
    return kernel.run(p.inputs(), p.w_hh, p.h0, p.c0)


def run_torch(p: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """The same numbers from torch.nn.LSTM, differentiable by the problem's leaves."""
    H = p.h0.shape[-1]
    lstm = torch.nn.LSTM(4 * H, H, bias=False, dtype=p.h0.dtype)
    weights = {"weight_ih_l0": torch.eye(4 * H, dtype=p.h0.dtype), "weight_hh_l0": p.w_hh.t()}
    x = p.source if p.ids is None else torch.nn.functional.embedding(p.ids, p.source)
    state = p.h0.unsqueeze(0), p.c0.unsqueeze(0)
    h, (h_last, c_last) = torch.func.functional_call(lstm, weights, (x, state))
    return h, h_last[0], c_last[0]


def gradients(p: Problem, results: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(results, p.leaves, p.weights)


def assert_equal(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], **tolerance: float) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, **(tolerance or TOLERANCE))


@every_kernel
@every_kind
@pytest.mark.parametrize("H", [1, 33, 129])
@pytest.mark.parametrize("T", [1, 257])
@pytest.mark.parametrize("B", [1, 5])
def test_outputs_states_and_all_gradients_equal_torch(kernel, kind, T, B, H):
    p = problem(kind, T, B, H)
    ours, theirs = run(kernel, p), run_torch(p)
    assert_equal(ours, theirs)
    assert_equal(gradients(p, ours), gradients(p, theirs))


@every_kernel
@every_kind
@pytest.mark.parametrize("T", [2, 7, 8, 9, 15, 16, 17])
def test_lengths_about_a_block_of_the_backward_pass_equal_torch(kernel, kind, T):
    p = problem(kind, T, 3, 5)
    ours, theirs = run(kernel, p), run_torch(p)
    assert_equal(ours, theirs)
    assert_equal(gradients(p, ours), gradients(p, theirs))


@every_kernel
@every_kind
def test_gradients_pass_gradcheck(kernel, kind):
    p = problem(kind, T=9, B=2, H=3)

    def results(source, w_hh, h0, c0):
        return run(kernel, Problem(source, p.ids, w_hh, h0, c0, p.weights))

    assert torch.autograd.gradcheck(results, p.leaves)


@every_kernel
@pytest.mark.parametrize("part", [1, 2], ids=["hidden", "cell"])
def test_the_gradient_through_the_last_state_alone_equals_torch(kernel, part):
    p = problem("projected", 12, 2, 5)
    ours, theirs = run(kernel, p)[part], run_torch(p)[part]
    weights = p.weights[part]
    assert_equal(torch.autograd.grad(ours, p.leaves, weights), torch.autograd.grad(theirs, p.leaves, weights))


@every_kernel
def test_the_gradient_through_one_step_in_the_middle_equals_torch(kernel):
    p = problem("table", 12, 2, 5)
    ours, theirs = run(kernel, p)[0][6, 1, 3], run_torch(p)[0][6, 1, 3]
    expected = torch.autograd.grad(theirs, p.leaves, allow_unused=True)
    assert_equal(torch.autograd.grad(ours, p.leaves), expected)


@every_kernel
def test_a_tokens_row_gathers_the_gradient_of_each_of_its_places(kernel):
    p = problem("table", 11, 3, 5)
    p.ids.remainder_(3)  # rows 0, 1 and 2 many times, the others never
    table_gradient = gradients(p, run(kernel, p))[0]
    spread = problem("projected", 11, 3, 5)
    spread.source = p.source.detach()[p.ids].requires_grad_()
    spread.w_hh, spread.h0, spread.c0, spread.weights = p.w_hh, p.h0, p.c0, p.weights
    by_place = gradients(spread, run_torch(spread))[0]
    expected = torch.stack([by_place[p.ids == token].sum(0) for token in range(VOCABULARY)])
    assert_equal((table_gradient,), (expected,))
    assert not table_gradient[3:].any()


@every_kernel
@every_kind
@settings(max_examples=20, deadline=None, derandomize=True)
@given(cuts=st.sets(st.integers(1, 39), max_size=8))
def test_a_sequence_in_chunks_with_carried_state_equals_one_long_one(kernel, kind, cuts):
    p = problem(kind, 40, 3, 5)
    h, c, outputs = p.h0, p.c0, []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True):
        part, h, c = kernel.run(p.inputs(slice(start, stop)), p.w_hh, h, c)
        outputs.append(part)
    chunked, whole = (torch.cat(outputs), h, c), run_torch(p)
    assert_equal(chunked, whole)
    assert_equal(gradients(p, chunked), gradients(p, whole))


@every_kernel
@every_kind
def test_step_by_step_equals_a_whole_sequence(kernel, kind):
    p = problem(kind, 21, 3, 5)
    with torch.no_grad():
        whole = run(kernel, p)
        h, c, outputs = p.h0, p.c0, []
        for t in range(21):
            h, c = lstm_step(p.inputs().step(t), p.w_hh, h, c)
            outputs.append(h)
    assert_equal((torch.stack(outputs), h, c), whole)


@every_kernel
@every_kind
def test_nothing_that_the_caller_owns_is_written_to(kernel, kind):
    p = problem(kind, 10, 3, 5)
    owned = [*p.leaves, *p.weights, *([] if p.ids is None else [p.ids])]
    before = [(tensor.detach().clone(), tensor._version) for tensor in owned]
    gradients(p, run(kernel, p))
    for tensor, (numbers, version) in zip(owned, before, strict=True):
        assert torch.equal(tensor, numbers)
        assert tensor._version == version


@every_kernel
def test_the_new_state_is_not_the_old_ones_memory(kernel):
    p = problem("projected", 1, 3, 5)
    with torch.no_grad():
        _, h, c = run(kernel, p)
        h.zero_()
        c.zero_()
    assert p.h0.all()
    assert p.c0.all()


@every_kernel
@every_kind
def test_strided_inputs_and_states_equal_contiguous_ones(kernel, kind):
    p = problem(kind, 10, 3, 5)
    expected = run(kernel, p)
    expected_gradients = gradients(p, expected)
    leaves = [leaf.detach().t().contiguous().t() for leaf in p.leaves[1:]]
    source = p.source.detach().transpose(0, 1).contiguous().transpose(0, 1)
    ids = None if p.ids is None else p.ids.t().contiguous().t()
    strided = Problem(source.requires_grad_(), ids, *(leaf.requires_grad_() for leaf in leaves), weights=p.weights)
    assert not any(leaf.is_contiguous() for leaf in strided.leaves)
    actual = run(kernel, strided)
    assert_equal(actual, expected)
    assert_equal(gradients(strided, actual), expected_gradients)


@every_kernel
def test_one_state_expanded_over_the_rows_is_read_as_many(kernel):
    p = problem("projected", 10, 3, 5)
    p.h0 = p.h0.detach()[:1].expand(3, -1)
    p.c0 = p.c0.detach()[:1].expand(3, -1)
    assert_equal(run(kernel, p), run_torch(p))


@every_kernel
@every_kind
def test_expanded_gradients_equal_full_ones(kernel, kind):
    p = problem(kind, 10, 3, 5)
    p.weights = tuple(torch.ones_like(weight) for weight in p.weights)
    expected = gradients(p, run_torch(p))
    total = sum(part.sum() for part in run(kernel, p))  # the gradient of a sum has strides of 0
    assert_equal(torch.autograd.grad(total, p.leaves), expected)


@every_kernel
def test_frozen_inputs_leave_the_other_gradients_as_they_are(kernel):
    p = problem("table", 10, 3, 5)
    expected = gradients(p, run_torch(p))[1]
    for frozen in (p.source, p.h0, p.c0):
        frozen.requires_grad_(False)
    assert_equal(torch.autograd.grad(run(kernel, p), p.w_hh, p.weights), (expected,))


@every_kernel
@every_kind
def test_single_precision_follows_double_as_closely_as_its_digits_allow(kernel, kind):
    T, B, H = 257, 5, 33
    double = problem(kind, T, B, H)
    single = problem(kind, T, B, H, dtype=torch.float32)
    exact, rounded = run_torch(double), run(kernel, single)
    # a step rounds sums of H + 1 products and some ten more operations; the forget gates (about 1/2 on average) keep
    # the memory short, so that the errors of some ten steps add up
    epsilon = torch.finfo(torch.float32).eps
    for one, other in zip(rounded, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=10 * (H + 11) * epsilon)
    for one, other in zip(gradients(single, rounded), gradients(double, exact), strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=0, atol=10 * (H + 11) * epsilon * scale)


@every_kernel
@every_kind
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_numbers_are_the_same_without_gradients(kernel, kind, mode):
    p = problem(kind, 10, 3, 5)
    expected = run(kernel, p)
    with mode():
        results = run(kernel, p)
    assert not any(part.requires_grad for part in results)
    assert_equal(results, tuple(part.detach() for part in expected))

"""The state is a value: nothing that is done with it changes it."""

from __future__ import annotations

import pytest
import torch

from unrolled.nn import State

L, B, H = 2, 3, 5


def random_state() -> State:
    generator = torch.Generator().manual_seed(1)
    return State(*(torch.randn(L, B, H, generator=generator, requires_grad=True) for _ in range(2)))


def test_the_first_state_is_zero_in_the_precision_of_its_model():
    state = State.zeros(L, B, H, torch.empty(0, dtype=torch.float64))
    for part in state:
        assert part.shape == (L, B, H)
        assert part.dtype == torch.float64
        assert not part.any()


def test_select_takes_rows_in_order_and_repeats_them_in_memory_of_their_own():
    state = random_state()
    chosen = state.select(torch.tensor([2, 0, 0, 1]))
    for part, whole in zip(chosen, state, strict=True):
        assert torch.equal(part, torch.stack([whole[:, row] for row in (2, 0, 0, 1)], dim=1))
        before = whole.detach().clone()
        part.detach().fill_(7)
        assert torch.equal(whole, before)


def test_detach_keeps_the_numbers_and_ends_the_history():
    state = State(*(part * 2 for part in random_state()))
    detached = state.detach()
    for part, whole in zip(detached, state, strict=True):
        assert torch.equal(part, whole)
        assert not part.requires_grad
        assert whole.requires_grad


def test_its_parts_cannot_be_replaced():
    state = random_state()
    with pytest.raises(AttributeError):
        state.h = state.c


def test_layers_are_stacked_in_their_order():
    whole = random_state()
    state = State.stack([(whole.h[layer], whole.c[layer]) for layer in range(L)])
    torch.testing.assert_close(tuple(state), tuple(whole), rtol=0, atol=0)

"""Dropout happens where a generator is given, and nowhere else."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.config import ModelSettings, RegularizationSettings
from unrolled.nn import LanguageModel
from unrolled.nn.dropout import Dropout

B, T, V, RATE = 5, 60, 11, 0.3


def model(layers: int = 1, dropout: float = RATE, **drops) -> LanguageModel:
    settings = ModelSettings(embedding_size=4, hidden_size=7, layers=layers)
    drops = RegularizationSettings(dropout=dropout, **drops)
    return LanguageModel(settings, V, torch.Generator().manual_seed(1), regularization=drops).double()


def ids() -> torch.Tensor:
    return torch.randint(V, (T, B), generator=torch.Generator().manual_seed(2))


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_a_generator_nothing_is_dropped():
    with_rate, without = model(layers=2), model(layers=2, dropout=0.0)
    assert torch.equal(with_rate.hidden(ids())[0], without.hidden(ids())[0])
    assert with_rate.training  # the mode of the module plays no part


def test_at_a_rate_of_zero_the_generator_is_not_touched():
    draws = generator()
    before = draws.get_state()
    model(dropout=0.0).hidden(ids(), generator=draws)
    assert torch.equal(draws.get_state(), before)


def test_the_same_state_of_the_generator_gives_the_same_masks():
    draws, drops = generator(), model(layers=2)
    drops.hidden(ids(), generator=draws)
    saved = draws.get_state()
    first, _ = drops.hidden(ids(), generator=draws)
    again = torch.Generator()
    again.set_state(saved)
    assert torch.equal(drops.hidden(ids(), generator=again)[0], first)
    assert not torch.equal(drops.hidden(ids(), generator=again)[0], first)


def test_an_activation_is_dropped_at_the_rate_or_scaled_so_that_its_expectation_stays():
    drops = model()
    plain, _ = drops.hidden(ids())
    dropped, _ = drops.hidden(ids(), generator=generator())
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], plain[kept] / (1 - RATE), rtol=1e-6, atol=0)
    six_deviations = 6 * math.sqrt(RATE * (1 - RATE) / kept.numel())
    assert kept.double().mean().item() == pytest.approx(1 - RATE, abs=six_deviations)


def test_each_layer_drops_from_its_output_and_nothing_from_the_carried_state():
    one = model()
    plain, dropped = one.hidden(ids())[1], one.hidden(ids(), generator=generator())[1]
    assert torch.equal(plain.h, dropped.h)
    two = model(layers=2)
    plain, dropped = two.hidden(ids())[1], two.hidden(ids(), generator=generator())[1]
    assert torch.equal(plain.h[0], dropped.h[0])
    assert not torch.equal(plain.h[1], dropped.h[1])


def test_no_gradient_flows_through_what_was_dropped():
    drops = model()
    h, _ = drops.hidden(ids(), generator=generator())
    (gradient,) = torch.autograd.grad(drops.logits(h).logsumexp(-1).sum(), h)
    assert gradient.all()  # the mask stands before h, so h itself feels the loss everywhere ...
    lost = (h == 0)[-1]
    h, _ = drops.hidden(ids(), generator=generator())
    (bias,) = torch.autograd.grad(h[-1][lost].sum(), drops.layers[0].bias)
    assert not bias.any()  # ... and what was dropped passes none of it on


def test_the_last_layer_may_have_a_rate_of_its_own():
    for two in (model(layers=2, output_dropout=0.0), model(layers=2, dropout=0.0, output_dropout=RATE)):
        one, last = two.regularization.dropout, two.regularization.output_dropout
        h, state = two.hidden(ids(), generator=generator())
        plain = two.hidden(ids())[1]
        assert (h == 0).any() == (last > 0)
        assert torch.equal(plain.h[1], state.h[1]) == (one == 0)


def test_a_locked_mask_is_one_for_all_steps_of_a_row_and_differs_between_rows():
    locked, _ = model(dropout_kind="locked").hidden(ids(), generator=generator())
    zero = locked == 0  # (T, B, H)
    assert torch.equal(zero, zero[:1].expand_as(zero))
    assert not torch.equal(zero[0, 0], zero[0, 1])
    fresh, _ = model().hidden(ids(), generator=generator())
    assert not torch.equal((fresh == 0)[0], (fresh == 0)[1])


@pytest.mark.parametrize("kind", ["elementwise", "locked"])
@given(rate=st.floats(0.01, 0.97), seed=st.integers(0, 2**31))
def test_the_fraction_that_is_kept_and_its_scale_follow_the_rate(kind, rate, seed):
    x = torch.randn(60, 50, 7, dtype=torch.float64, generator=generator())
    dropped = Dropout(rate, kind).apply(x, generator(seed))
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], x[kept] / (1 - rate), rtol=1e-6, atol=0)
    masks = kept if kind == "elementwise" else kept[:1]
    deviations = math.sqrt(rate * (1 - rate) / masks.numel())
    assert masks.double().mean().item() == pytest.approx(1 - rate, abs=7 * deviations + 1 / masks.numel())
    assert kind == "elementwise" or torch.equal(kept, masks.expand_as(kept))


@given(rate=st.floats(0, 0.97), kind=st.sampled_from(["elementwise", "locked"]))
def test_without_a_generator_or_a_rate_activations_are_the_same_tensor(rate, kind):
    x = torch.ones(4, 3, 2)
    assert Dropout(rate, kind).apply(x, None) is x
    assert Dropout(0.0, kind).apply(x, generator()) is x


def test_embeddings_are_whole_without_a_generator():
    with_rate, without = model(input_dropout=RATE), model()
    assert torch.equal(with_rate.hidden(ids())[0], without.hidden(ids())[0])

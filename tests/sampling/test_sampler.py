"""The one random draw: distribution, edges, seeds."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import UserError
from unrolled.sampling.sampler import draw, generator_for, greedy, resolve_seed, sample_seed

ALMOST_ONE = math.nextafter(1.0, 0.0)


def test_draws_follow_the_softmax_by_a_chi_square_test():
    logits = np.array([0.3, -1.2, 2.0, -math.inf, 0.9, -0.4, 1.1])
    weights = [math.exp(z) for z in logits]
    draws, generator = 40_000, random.Random(11)
    counts = np.bincount([draw(logits, generator.random()) for _ in range(draws)], minlength=7)
    expected = np.array(weights) / sum(weights) * draws
    alive = expected > 0
    assert counts[3] == 0
    statistic = float(((counts[alive] - expected[alive]) ** 2 / expected[alive]).sum())
    assert statistic < 20.5  # the 0.999 quantile of chi-square with 5 degrees of freedom


@given(st.lists(st.floats(-30, 30) | st.just(-math.inf), min_size=1, max_size=40), st.floats(0, ALMOST_ONE))
def test_the_drawn_id_is_where_the_cumulative_probability_passes_the_uniform(logits, uniform):
    logits[len(logits) // 2] = 1.0  # at least one is possible
    weights = [math.exp(z - max(logits)) for z in logits]
    token = draw(np.array(logits), uniform)
    assert weights[token] > 0
    below, total = math.fsum(weights[:token]), math.fsum(weights)
    assert below / total - 1e-12 <= uniform <= (below + weights[token]) / total + 1e-12


@pytest.mark.parametrize("uniform", [0.0, ALMOST_ONE])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_ends_of_the_uniform_never_draw_an_impossible_token(uniform, size):
    logits = np.full(size + 4, -math.inf)
    logits[2 : size + 2] = np.random.default_rng(0).standard_normal(size)
    assert draw(logits, uniform) == (2 if uniform == 0 else size + 1)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=60))
def test_the_largest_uniform_still_draws_a_token(logits):
    assert draw(np.array(logits), ALMOST_ONE) < len(logits)


def test_greedy_takes_the_lowest_id_of_equals():
    assert greedy(np.array([-1.0, 4.0, 0.0, 4.0])) == 1


@pytest.mark.parametrize("bad", [[0.0, math.nan, 1.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_logits_that_are_not_numbers_are_an_error_for_the_user(bad):
    for choose in (greedy, lambda z: draw(z, 0.5)):
        with pytest.raises(UserError, match="not finite"):
            choose(np.array(bad))


def test_negative_and_positive_seeds_differ_and_sample_j_is_seed_plus_j():
    assert generator_for(-1, 0).random() != generator_for(1, 0).random()
    assert generator_for(-1, 1).random() == generator_for(0, 0).random()
    assert generator_for(7, 3).random() == generator_for(10, 0).random() == random.Random(10).random()


def test_seeds_wrap_in_64_bits():
    assert sample_seed(2**63 - 1, 1) == -(2**63)
    assert generator_for(2**63 - 1, 1).random() == generator_for(-(2**63), 0).random()
    assert sample_seed(-3, 1) == -2


def test_a_seed_of_zero_is_a_seed():
    assert resolve_seed(0) == 0
    drawn = [resolve_seed(None) for _ in range(4)]
    assert len(set(drawn)) > 1
    assert all(0 <= seed < 2**31 for seed in drawn)

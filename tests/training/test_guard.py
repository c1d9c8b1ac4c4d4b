"""Which loss is a spike, and which is only a hard batch."""

import math

import pytest

from unrolled.training.guard import LEAST_JUMP_NATS, STEPS_BEFORE_JUDGING, LossGuard


def settled(mean, factor=3.0, steps=STEPS_BEFORE_JUDGING):
    guard = LossGuard(factor)
    for _ in range(steps):
        guard.accept(mean)
    return guard


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_not_finite_is_a_problem_from_the_first_step_on(loss, norm):
    assert "not a finite number" in LossGuard(3.0).problem(loss, norm)


def test_the_mean_of_equal_losses_is_that_loss():
    assert settled(1.3).mean_nats == pytest.approx(1.3)


def test_the_mean_begins_as_the_plain_mean_of_what_was_seen():
    guard = LossGuard(3.0)
    for loss in (4.0, 2.0, 3.0):
        guard.accept(loss)
    assert guard.mean_nats == pytest.approx(3.0)


@pytest.mark.parametrize(("mean", "border"), [(2.0, 6.0), (0.1, 0.1 + LEAST_JUMP_NATS)])
def test_a_spike_lies_above_the_factor_and_a_nat_above_the_mean(mean, border):
    guard = settled(mean)
    assert guard.problem(border - 1e-6, 1.0) is None
    assert f"{mean:.2f} to {border + 0.01:.2f}" in guard.problem(border + 0.01, 1.0)


def test_the_first_steps_are_not_judged():
    assert settled(2.0, steps=STEPS_BEFORE_JUDGING - 1).problem(50.0, 1.0) is None
    assert settled(2.0).problem(50.0, 1.0) is not None

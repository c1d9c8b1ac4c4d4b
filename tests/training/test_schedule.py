"""The learning rate against its formula, at its ends and in the middle."""

import pytest

from unrolled.config import TrainingSettings
from unrolled.training.schedule import lr_scale, progress_fraction


def test_the_constant_rate_is_constant_after_a_linear_rise():
    settings = TrainingSettings(learning_rate=0.4, warmup_steps=4)
    assert [0.4 * lr_scale(settings, step, 0.9) for step in range(6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_a_warm_up_by_fraction_rises_from_the_first_step_on_and_is_over_at_its_fraction():
    settings = TrainingSettings(steps=100, warmup_fraction=0.05)
    rises = [lr_scale(settings, step, step / 100) for step in range(7)]
    assert rises == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])
    both = TrainingSettings(steps=100, warmup_fraction=0.05, warmup_steps=10)
    assert lr_scale(both, 4, 0.04) == pytest.approx(0.5)  # the longer of the two


@pytest.mark.parametrize(("fraction", "rate"), [(0.0, 0.4), (0.5, 0.22), (1.0, 0.04), (1 / 3, 0.31)])
def test_the_cosine_falls_from_the_rate_to_its_last_fraction(fraction, rate):
    settings = TrainingSettings(learning_rate=0.4, schedule="cosine", final_rate_fraction=0.1)
    assert 0.4 * lr_scale(settings, 7, fraction) == pytest.approx(rate)


def test_the_fraction_is_that_of_the_steps_or_of_the_minutes_whichever_is_further_on():
    settings = TrainingSettings(steps=200, minutes=2)
    assert progress_fraction(settings, 50, 30) == 0.25
    assert progress_fraction(settings, 20, 30) == 0.25
    assert progress_fraction(settings, 150, 30) == 0.75
    assert progress_fraction(settings, 1, 999) == 1.0
    assert progress_fraction(TrainingSettings(steps=200), 1, 999) == 0.005

"""The learning rate over training.

    constant:  rate_t = r                     cosine:  rate_t = r (q + (1 - q) (1 + cos(pi p)) / 2)
                                              (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, one cycle)

both after a linear rise over the warm-up. r: learning rate, q: the last rate as a fraction of it, p: progress, the
fraction of the training that is done. With a budget of minutes, p counts steps or minutes, whichever is further along;
only then does the rate depend on the clock, and a resumed run equals an uninterrupted one except for that.
"""

import math

from unrolled.config import TrainingSettings


def progress_fraction(settings: TrainingSettings, step: int, seconds: float) -> float:
    """Return the fraction of the training that is done, 0 to 1."""
    by_steps = step / settings.steps
    by_time = 0.0 if settings.minutes is None else seconds / (60 * settings.minutes)
    return min(1.0, max(by_steps, by_time))


def lr_scale(settings: TrainingSettings, step: int, fraction: float) -> float:
    """Return the learning-rate multiplier at `step`, with `fraction` of the training done."""
    rise = _rise(settings, step, fraction)
    if settings.schedule == "constant":
        return rise
    q = settings.final_rate_fraction
    return rise * (q + (1 - q) * 0.5 * (1 + math.cos(math.pi * fraction)))


def _rise(settings: TrainingSettings, step: int, fraction: float) -> float:
    """Return the fraction of the warm-up that is behind, the longer of the two where there are two; above 0 at once."""
    by_steps = (step + 1) / settings.warmup_steps if settings.warmup_steps else 1.0
    by_fraction = (fraction + 1 / settings.steps) / settings.warmup_fraction if settings.warmup_fraction else 1.0
    return min(1.0, by_steps, by_fraction)

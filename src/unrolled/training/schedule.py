"""The learning rate over training.

    constant:  rate_t = r                     cosine:  rate_t = r (q + (1 - q) (1 + cos(pi p)) / 2)
                                              (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, one cycle)

both after a linear rise over the warm-up. r: learning rate, q: the last rate's share, p: the share of training done.
Where there is a budget of minutes, p is that of the steps or of the minutes, whichever is further on; only then does
the rate depend on the clock, and a resumed run equals an uninterrupted one up to that.
"""

import math

from unrolled.config import TrainingSettings


def share_done(settings: TrainingSettings, step: int, seconds: float) -> float:
    """Return how much of the training is behind, 0 to 1."""
    by_steps = step / settings.steps
    by_time = 0.0 if settings.minutes is None else seconds / (60 * settings.minutes)
    return min(1.0, max(by_steps, by_time))


def rate_share(settings: TrainingSettings, step: int, share: float) -> float:
    """Return the rate of the step after `step` steps, with `share` of the training done, as a share of the highest."""
    rise = _rise(settings, step, share)
    if settings.schedule == "constant":
        return rise
    q = settings.final_rate_fraction
    return rise * (q + (1 - q) * 0.5 * (1 + math.cos(math.pi * share)))


def _rise(settings: TrainingSettings, step: int, share: float) -> float:
    """Return the share of the warm-up that is behind, the longer of the two where there are two; above 0 at once."""
    by_steps = (step + 1) / settings.warmup_steps if settings.warmup_steps else 1.0
    by_share = (share + 1 / settings.steps) / settings.warmup_fraction if settings.warmup_fraction else 1.0
    return min(1.0, by_steps, by_share)

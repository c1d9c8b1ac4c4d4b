"""When a loss has gone wrong: it is not a finite number, or far above its running mean.

A spike is a loss of more than `factor` times the running mean and more than a nat above it: on a memorised text the
loss is so small that a factor alone would call every hard batch a spike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SMOOTHING = 0.98
STEPS_BEFORE_JUDGING = 50
LEAST_JUMP_NATS = 1.0


@dataclass
class LossGuard:
    """A running mean of the loss and the verdict on the next one."""

    factor: float
    mean_nats: float = 0.0
    steps: int = 0

    def problem(self, loss_nats: float, gradient_norm: float) -> str | None:
        """Return what is wrong with this step, or None."""
        if not math.isfinite(loss_nats) or not math.isfinite(gradient_norm):
            return "the loss is not a finite number"
        too_high = loss_nats > max(self.factor * self.mean_nats, self.mean_nats + LEAST_JUMP_NATS)
        if self.steps >= STEPS_BEFORE_JUDGING and too_high:
            return f"the loss jumped from {self.mean_nats:.2f} to {loss_nats:.2f} nats"
        return None

    def accept(self, loss_nats: float) -> None:
        """Update the running mean with a good loss."""
        weight = max(1 - SMOOTHING, 1 / (self.steps + 1))
        self.mean_nats += weight * (loss_nats - self.mean_nats)
        self.steps += 1

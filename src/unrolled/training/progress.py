"""How far a training run is: the counters that every checkpoint holds, the rates that follow from them, the clock."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

from unrolled.config import TrainingSettings
from unrolled.runs import Checkpoint
from unrolled.training.schedule import lr_scale, progress_fraction
from unrolled.units import perplexity

COUNTS = ("step", "tokens", "train_tokens", "best_step", "evaluations_without_better", "guarded_steps")


@dataclass
class Progress:
    """The counters of a training run; all of them are in every checkpoint."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    train_nats: float = 0.0  # since the last evaluation
    train_tokens: int = 0
    train_seconds: float = 0.0
    best_loss_nats: float | None = None
    best_step: int = 0
    evaluations_without_better: int = 0
    rate_factor: float = 1.0  # halved by every rollback
    mean_loss_nats: float = 0.0  # of the loss guard
    guarded_steps: int = 0
    evaluation_pending: bool = False  # the evaluation at `step` is due and not complete

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Progress:
        """Return the counters of a checkpoint.

        Raises:
            ValueError: they are not those of a training run.
        """
        values = checkpoint.counters.get("training")
        if not isinstance(values, dict) or set(values) - {field.name for field in dataclasses.fields(cls)}:
            raise ValueError("the counters are not those of a training run")
        best = values.get("best_loss_nats")
        if type(values.get("evaluation_pending", False)) is not bool:
            raise ValueError("the counter evaluation_pending is impossible")
        left_out = ["evaluation_pending"] + ["best_loss_nats"] * (best is None)
        numbers = {name: value for name, value in values.items() if name not in left_out}
        for name, value in numbers.items():
            if type(value) not in ((int,) if name in COUNTS else (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"the counter {name} is impossible")
        return cls(**values)

    def count_step(self, loss_nats: float, tokens: int, seconds: float) -> None:
        """Count an optimizer step: its mean loss, its targets and its time without evaluations and previews."""
        self.step += 1
        self.tokens += tokens
        self.train_nats += loss_nats * tokens
        self.train_tokens += tokens
        self.train_seconds += seconds

    def count_evaluation(self, loss_nats: float) -> bool:
        """Count an evaluation; return whether its loss is the best so far."""
        if self.best_loss_nats is None or loss_nats < self.best_loss_nats:
            self.best_loss_nats, self.best_step, self.evaluations_without_better = loss_nats, self.step, 0
            return True
        self.evaluations_without_better += 1
        return False

    def start_interval(self) -> None:
        """Forget the training loss and the rate since the last evaluation, which is complete."""
        self.train_nats, self.train_tokens, self.train_seconds = 0.0, 0, 0.0
        self.evaluation_pending = False

    def tokens_per_second(self) -> float:
        """Return the rate of the steps since the last evaluation."""
        return self.train_tokens / self.train_seconds if self.train_seconds else math.nan

    def fraction(self, settings: TrainingSettings) -> float:
        """Return the fraction of the training that is done, 0 to 1."""
        return progress_fraction(settings, self.step, self.seconds)

    def seconds_left(self, settings: TrainingSettings) -> float:
        """Estimate the rest of the training from the time so far; at least one step has been made."""
        fraction = self.fraction(settings)
        return self.seconds * (1 - fraction) / fraction

    def lr_scale(self, settings: TrainingSettings) -> float:
        """Return the learning-rate multiplier of the next step: schedule and rollbacks."""
        return lr_scale(settings, self.step, self.fraction(settings)) * self.rate_factor

    def end_reason(self, settings: TrainingSettings) -> str:
        """Return why training is at its end, or an empty string while it is not."""
        if self.step >= settings.steps:
            return f"all {settings.steps:,} steps are done"
        if settings.minutes is not None and self.seconds >= 60 * settings.minutes:
            return f"the budget of {settings.minutes:g} minutes is used up"
        if settings.patience and self.evaluations_without_better >= settings.patience:
            return f"{settings.patience} evaluations in a row were no better than the best"
        return ""

    def metrics_entry(
        self, settings: TrainingSettings, valid_loss_nats: float, valid_bits_per_char: float
    ) -> dict[str, Any]:
        """Return the line of `metrics.jsonl` for an evaluation at this step."""
        return {
            "step": self.step,
            "seconds": round(self.seconds, 3),
            "train_loss_nats": self.train_nats / self.train_tokens if self.train_tokens else math.nan,
            "valid_loss_nats": valid_loss_nats,
            "valid_perplexity": perplexity(valid_loss_nats),
            "valid_bits_per_char": valid_bits_per_char,
            "tokens_per_second": round(self.tokens_per_second(), 1),
            "learning_rate": settings.learning_rate * self.lr_scale(settings),
        }


class Clock:
    """Measures the time that training takes, whatever it is spent on."""

    def __init__(self) -> None:
        self._last_lap = 0.0

    def now(self) -> float:
        """Return the present in seconds; only differences mean anything."""
        return time.perf_counter()

    def start(self) -> None:
        """Begin the first lap."""
        self._last_lap = self.now()

    def lap(self) -> float:
        """Return the seconds since the last lap ended, and begin the next one."""
        now = self.now()
        seconds, self._last_lap = now - self._last_lap, now
        return seconds

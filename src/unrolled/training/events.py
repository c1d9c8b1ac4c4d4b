"""What happens while a model trains, as values: the command line shows them, and the run stores some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Note:
    """Something that the user should know, in a plain sentence."""

    text: str


@dataclass(frozen=True)
class Started:
    """Training begins or continues."""

    step: int
    steps: int
    minutes: float | None
    device: str
    device_reason: str
    kernel: str
    kernel_reason: str
    precision: str
    precision_reason: str
    threads: int
    parameters: int
    vocabulary_size: int
    train_tokens: int
    valid_tokens: int
    batch_size: int
    window: int


@dataclass(frozen=True)
class Stepped:
    """One optimizer step was made."""

    step: int
    loss_nats: float
    tokens_per_second: float
    seconds: float
    progress_fraction: float  # of the steps or of the minutes, whichever is further along
    seconds_left: float


@dataclass(frozen=True)
class Evaluated:
    """The model was measured on the validation text; `entry` is the line of `metrics.jsonl`."""

    entry: dict[str, Any]
    is_best: bool


@dataclass(frozen=True)
class Previewed:
    """A sample from the model as it is now."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True)
class RolledBack:
    """The loss was not a number or jumped; training continues from the last good state at a lower rate."""

    step: int
    to_step: int
    reason: str
    rate_factor: float


@dataclass(frozen=True)
class Finished:
    """Training ended; `best` is the line of `metrics.jsonl` of the weights that were kept."""

    reason: str
    interrupted: bool
    step: int
    seconds: float
    best: dict[str, Any] | None
    folder: str


Event = Note | Started | Stepped | Evaluated | Previewed | RolledBack | Finished
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""

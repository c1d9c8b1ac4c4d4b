"""Timing several ways of the same work fairly: in one process, in turn, so that a slow moment hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from unrolled.machine import machine_name
from unrolled.native import native_status

WARM_UP_ROUNDS = 2


def times_in_turn(ways: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    """Call every way once a round, with the round's number, and return the seconds of each by name.

    The first rounds warm up and are left out; every other round goes through the ways backwards.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(WARM_UP_ROUNDS + rounds):
        for name in list(ways) if number % 2 else list(reversed(ways)):
            started = time.perf_counter()
            ways[name](number)
            seconds[name].append(time.perf_counter() - started)
    return {name: values[WARM_UP_ROUNDS:] for name, values in seconds.items()}


def median_ratio(slower: Sequence[float], faster: Sequence[float]) -> float:
    """Return how many times as long the first one takes: the median over the rounds, each compared within itself."""
    return statistics.median(one / other for one, other in zip(slower, faster, strict=True))


def circumstances(repetitions: int) -> dict[str, Any]:
    """Return what a figure means nothing without."""
    return {
        "machine": machine_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "native": native_status(),
        "repetitions": repetitions,
    }

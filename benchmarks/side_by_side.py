"""Timing several ways of the same work fairly: in one process, in turn, so that a slow moment hits all alike."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

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


def machine_name() -> str:
    """Return the processor's name and the number of cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def run(about: str, measure: Callable[[int], dict[str, Any]], show: Callable[[dict[str, Any]], None]) -> None:
    """Read the command line of a benchmark, measure so many repetitions, and print the figures or one JSON object."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0, help="PyTorch's threads; 0: its default")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result = {
        "machine": machine_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "repetitions": arguments.repetitions,
        **measure(arguments.repetitions),
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['machine']}, {result['threads']} threads, torch {result['torch']}")
    show(result)

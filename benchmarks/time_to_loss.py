"""Time to a validation loss: the preset `stories-fast` against the seed's way and recipe, on one machine.

    python benchmarks/time_to_loss.py TRAIN VALID [--target 1.216] [--seed-steps 40] [--picture FILE.png] [--json]

Ours is a whole run, evaluations and checkpoints included, timed by the wall clock. The seed's way needs hours for its
20,000 steps, so only its time a step is measured here, on the same batches, before and after ours (the mean of the two
medians counts); its losses are those of its recipe on the tales (`SEEDS_CURVE`), which our preset `stories` follows
step by step with the same mathematics. The seed's evaluations are counted as taking no time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from unrolled.bench.rivals import SeedModel
from unrolled.bench.side_by_side import machine_name
from unrolled.config import make_settings
from unrolled.data import RandomWindows, prepare_corpus
from unrolled.training import train

SEEDS_CURVE = {500: 1.80, 1000: 1.62, 2500: 1.42, 5000: 1.32, 7500: 1.27, 10_000: 1.25, 15_000: 1.227, 20_000: 1.216}


def seeds_seconds_a_step(train_file: str, valid_file: str, steps: int) -> float:
    """Return the median time of a whole training step the seed's way, on batches of the text."""
    settings = make_settings("stories")
    corpus = prepare_corpus([train_file], settings.data, valid_sources=[valid_file])
    batcher = RandomWindows(
        corpus.train.ids, settings.training.batch_size, settings.training.window, torch.Generator().manual_seed(1)
    )
    model = SeedModel(corpus.tokenizer.vocabulary_size, settings.model.embedding_size, settings.model.hidden_size)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.training.learning_rate)
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        batch = batcher.next_batch()
        loss = cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def our_curve(train_file: str, valid_file: str, preset: str, settings: dict[str, Any]) -> list[tuple[float, float]]:
    """Train, and return (seconds since the start of training, validation nats) of every evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        train([train_file], out, preset=preset, valid=[valid_file], settings=settings)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["seconds"], line["valid_loss_nats"]) for line in lines]


def first_at(curve: list[tuple[float, float]], target_nats: float) -> float | None:
    """Return when the curve first was at the target or below."""
    return next((seconds for seconds, nats in curve if nats <= target_nats), None)


def draw(picture: Path, seeds: list[tuple[float, float]], ours: list[tuple[float, float]], target_nats: float) -> None:
    """Draw both curves over wall-clock minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for curve, name in ((seeds, "the seed's way"), (ours, "unrolled, stories-fast")):
        axes.plot([seconds / 60 for seconds, _ in curve], [nats for _, nats in curve], marker=".", label=name)
    axes.axhline(target_nats, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", xlabel="minutes of training", ylabel="validation loss (nats per character)")
    axes.legend()
    figure.savefig(picture, dpi=110)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run both, and return the figures."""
    settings = {"training.preview_tokens": 0, "training.eval_interval": 100}
    settings |= {} if arguments.steps is None else {"training.steps": arguments.steps}
    steps = [seeds_seconds_a_step(arguments.train, arguments.valid, arguments.seed_steps)]
    ours = our_curve(arguments.train, arguments.valid, arguments.preset, settings)
    steps.append(seeds_seconds_a_step(arguments.train, arguments.valid, arguments.seed_steps))
    seeds = [(step * statistics.mean(steps), nats) for step, nats in SEEDS_CURVE.items()]
    if arguments.picture is not None:
        draw(arguments.picture, seeds, ours, arguments.target)
    seeds_seconds, our_seconds = first_at(seeds, arguments.target), first_at(ours, arguments.target)
    reached = seeds_seconds is not None and our_seconds is not None
    return {
        "machine": machine_name(),
        "threads": torch.get_num_threads(),
        "target_nats": arguments.target,
        "seeds_seconds_a_step": steps,
        "seeds_seconds": seeds_seconds,
        "our_seconds": our_seconds,
        "times_as_soon": seeds_seconds / our_seconds if reached else None,
        "ours_after_5_minutes_nats": min((nats for seconds, nats in ours if seconds <= 300), default=None),
        "our_curve": ours,
    }


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("valid")
    parser.add_argument("--preset", default="stories-fast")
    parser.add_argument("--steps", type=int, help="length of our run; the preset's by default")
    parser.add_argument("--target", type=float, default=SEEDS_CURVE[20_000])
    parser.add_argument("--seed-steps", type=int, default=40)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", action="store_true")
    result = measure(arguments := parser.parse_args())
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['machine']}, {result['threads']} threads; target {result['target_nats']} nats a character")
    print(f"the seed's way: {result['seeds_seconds_a_step']} s a step, target after {result['seeds_seconds']} s")
    print(f"ours: target after {result['our_seconds']} s, {result['times_as_soon']} times as soon")
    print(f"ours after 5 minutes: {result['ours_after_5_minutes_nats']} nats a character")


if __name__ == "__main__":
    main()

"""Time to a validation loss: the preset `stories-fast` against the seed's way and recipe, on one machine.

    python benchmarks/time_to_loss.py TRAIN VALID [--steps N] [--seed-steps 0] [--sample 2] [--docs docs]

Ours is a whole run, evaluations and checkpoints included, timed by the wall clock. The seed's way needs hours for its
20,000 steps. So after each of our evaluations it makes `--sample` steps, whose time is not counted as ours: both see
the same moments of the machine. The median of them, times the steps, places the losses of its recipe on the tales
(`SEEDS_CURVE`) on the clock. With `--seed-steps N` it is also trained and measured for so many steps, after ours, and
only continued with that curve; its evaluations are counted as taking no time. The losses hold for the tales alone.

Written: `time-to-loss.json` and `images/time-to-loss.png` below the folder of documents.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from unrolled.bench.rivals import SeedModel, seeds_model
from unrolled.bench.side_by_side import circumstances
from unrolled.config import Settings, make_settings
from unrolled.data import Corpus, RandomWindows, prepare_corpus
from unrolled.evaluation import validation_loss_nats
from unrolled.nn import LanguageModel
from unrolled.training import Evaluated, train
from unrolled.training.memory import keep_freed_memory

SEEDS_CURVE = {500: 1.80, 1000: 1.62, 2500: 1.42, 5000: 1.32, 7500: 1.27, 10_000: 1.25, 15_000: 1.227, 20_000: 1.216}
SEEDS_EVALUATION = 250  # steps between evaluations of the seed's way, where it is trained here
FIVE_MINUTES = 300
Curve = list[tuple[float, float]]  # seconds since training began, validation loss in nats


class SeedsWay:
    """The seed's model, recipe and training step; `seconds` holds how long every step took."""

    def __init__(self, corpus: Corpus, settings: Settings) -> None:
        training = settings.training
        self._corpus = corpus
        self._ours = LanguageModel(
            settings.model, corpus.tokenizer.vocabulary_size, torch.Generator().manual_seed(training.seed)
        )
        self.model = seeds_model(self._ours)
        self._batcher = RandomWindows(
            corpus.train.ids, training.batch_size, training.window, torch.Generator().manual_seed(training.seed)
        )
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=training.learning_rate)
        self.seconds: list[float] = []

    def step(self) -> None:
        """Make one whole training step."""
        started = time.perf_counter()
        batch = self._batcher.next_batch()
        loss = cross_entropy(self.model(batch.inputs).flatten(0, 1), batch.targets.flatten())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        loss.item()
        self.seconds.append(time.perf_counter() - started)

    def valid_loss_nats(self) -> float:
        """Measure on the validation text, with our code and the seed's weights."""
        copy_weights(self.model, self._ours)
        valid = self._corpus.valid
        nats, tokens = validation_loss_nats(self._ours, valid.ids, self._corpus.tokenizer.start_id, valid.tokens)
        return nats / tokens


@torch.no_grad()
def copy_weights(seeds: SeedModel, ours: LanguageModel) -> None:
    """Give our model the weights of the seed's."""
    for cell, layer in zip(seeds.cells, ours.layers, strict=True):
        for letter, weight in (("W", layer.w_ih), ("U", layer.w_hh), ("b", layer.bias)):
            weight.copy_(torch.cat([getattr(cell, f"{letter}_{gate}") for gate in "ifgo"], dim=-1))
    ours.embedding.copy_(seeds.embedding.weight)
    ours.output_matrix.copy_(seeds.output.weight)
    ours.output_bias.copy_(seeds.output.bias)


class InTurn:
    """Listens to our training, and lends the machine to the seed's way after each evaluation."""

    def __init__(self, seeds: SeedsWay, steps: int) -> None:
        self._seeds, self._steps = seeds, steps
        self._lent_seconds = 0.0
        self.curve: Curve = []

    def __call__(self, event: object) -> None:
        if not isinstance(event, Evaluated):
            return
        started = time.perf_counter()
        self.curve.append((event.entry["seconds"] - self._lent_seconds, event.entry["valid_loss_nats"]))
        for _ in range(self._steps):
            self._seeds.step()
        self._lent_seconds += time.perf_counter() - started


def our_curve(train_file: str, valid_file: str, preset: str, settings: Mapping[str, Any], listener: InTurn) -> Curve:
    """Train, and return when each evaluation was made, and what it found."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        train([train_file], out, preset=preset, valid=[valid_file], settings=settings, listener=listener)
    return listener.curve


def seeds_measured_curve(seeds: SeedsWay, steps: int, interval: int = SEEDS_EVALUATION) -> Curve:
    """Train the seed's way, and return its own curve; only its steps are on the clock."""
    curve = []
    for step in range(1, steps + 1):
        seeds.step()
        if step % interval == 0 or step == steps:
            curve.append((sum(seeds.seconds[-step:]), seeds.valid_loss_nats()))
    return curve


def seeds_continued_curve(seconds_a_step: float, after_steps: int = 0) -> Curve:
    """Return the losses of the seed's recipe on the tales, where this machine would reach them."""
    return [(step * seconds_a_step, nats) for step, nats in SEEDS_CURVE.items() if step > after_steps]


def first_at(curve: Curve, target_nats: float) -> float | None:
    """Return when the curve first was at the target or below."""
    return next((seconds for seconds, nats in curve if nats <= target_nats), None)


def draw(picture: Path, result: Mapping[str, Any]) -> None:
    """Draw all curves over wall-clock minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for label, curve, colour, style in drawn_curves(result):
        minutes, nats = [seconds / 60 for seconds, _ in curve], [nats for _, nats in curve]
        axes.plot(minutes, nats, color=colour, linestyle=style, marker=".", linewidth=1.8, label=label)
    axes.axhline(result["target_nats"], color="black", linewidth=0.8, linestyle="--", label="the target")
    axes.set(xscale="log", xlabel="minutes of training", ylabel="validation loss (nats per character)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", frameon=False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture)


def drawn_curves(result: Mapping[str, Any]) -> list[tuple[str, Curve, str, str]]:
    """Return label, points, colour and line style of each curve; what was not measured says so and is dotted."""
    measured = result["seeds_measured_curve"]
    at_its_pace = f"at the {result['seeds_seconds_a_step']:.2f} s a step measured here"
    return [
        (f"unrolled, {result['preset']}", result["our_curve"], "#b3432b", "-"),
        *([("the seed's way, trained here", measured, "#5f6670", "-")] if measured else []),
        # from the last point that was measured, so that no gap is left
        (
            f"the seed's way: its published losses, {at_its_pace}",
            [*measured[-1:], *result["seeds_continued_curve"]],
            "#5f6670",
            ":",
        ),
    ]


def measure(arguments: argparse.Namespace, recipe: Settings, our_settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run ours with the seed's way in turn, then the seed's alone where that was asked for; return the figures."""
    keep_freed_memory()
    corpus = prepare_corpus([arguments.train], recipe.data, valid_sources=[arguments.valid])
    seeds = SeedsWay(corpus, recipe)
    seeds.step()  # the first one warms up
    seeds.seconds.clear()
    in_turn = InTurn(seeds, arguments.sample)
    ours = our_curve(arguments.train, arguments.valid, arguments.preset, our_settings, in_turn)
    seconds_a_step = statistics.median(seeds.seconds)
    trained = seeds_measured_curve(SeedsWay(corpus, recipe), arguments.seed_steps)
    continued = seeds_continued_curve(seconds_a_step, arguments.seed_steps)
    seeds_seconds, our_seconds = first_at(trained + continued, arguments.target), first_at(ours, arguments.target)
    return {
        **circumstances(arguments.sample),
        "preset": arguments.preset,
        "target_nats": arguments.target,
        "seeds_seconds_a_step": seconds_a_step,
        "seeds_fastest_step_seconds": min(seeds.seconds),
        "seeds_steps_timed": len(seeds.seconds),
        "seeds_seconds": seeds_seconds,
        "our_seconds": our_seconds,
        "times_as_soon": None if seeds_seconds is None or our_seconds is None else seeds_seconds / our_seconds,
        "ours_after_5_minutes_nats": min((nats for seconds, nats in ours if seconds <= FIVE_MINUTES), default=None),
        "our_curve": ours,
        "seeds_measured_curve": trained,
        "seeds_continued_curve": continued,
    }


def report(result: Mapping[str, Any]) -> list[str]:
    """Return the figures as lines for people."""
    target = f"{result['target_nats']} nats a character"
    seeds_time, our_time = _minutes(result["seeds_seconds"]), _minutes(result["our_seconds"])
    lines = [
        f"{result['machine']}, {result['threads']} threads, torch {result['torch']}",
        f"the seed's way: {result['seeds_seconds_a_step']:.3f} s a step (median of {result['seeds_steps_timed']})",
        f"{target}: the seed's way after {seeds_time}, ours after {our_time}",
        f"ours within 5 minutes: {result['ours_after_5_minutes_nats']} nats a character",
    ]
    times = result["times_as_soon"]
    return lines if times is None else [*lines, f"ours is there {times:.1f} times as soon"]


def _minutes(seconds: float | None) -> str:
    return "(never)" if seconds is None else f"{seconds / 60:.2f} minutes"


def _at_least_one(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)


def main() -> None:
    """Read the command line, measure, keep, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("valid")
    parser.add_argument("--preset", default="stories-fast")
    parser.add_argument("--steps", type=int, help="length of our run; the preset's by default")
    parser.add_argument("--seed-steps", type=int, default=0, help="train the seed's way for so many steps as well")
    parser.add_argument(
        "--sample", type=_at_least_one, default=2, help="the seed's steps after each evaluation of ours"
    )
    parser.add_argument("--target", type=float, default=SEEDS_CURVE[20_000])
    parser.add_argument("--docs", type=Path, default=Path(__file__).resolve().parents[1] / "docs")
    arguments = parser.parse_args()
    (arguments.docs / "images").mkdir(parents=True, exist_ok=True)  # a place for the figures before they are made
    ours = {"training.preview_tokens": 0, "training.eval_interval": 400, "training.patience": 0}
    ours |= {} if arguments.steps is None else {"training.steps": arguments.steps}
    result = measure(arguments, make_settings("stories"), ours)
    (arguments.docs / "time-to-loss.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    draw(arguments.docs / "images" / "time-to-loss.png", result)
    print("\n".join(report(result)))


if __name__ == "__main__":
    main()

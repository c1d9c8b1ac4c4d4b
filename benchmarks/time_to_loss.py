"""Time to a validation loss: the preset `stories-fast` against a plain PyTorch loop with the textbook recipe.

    python benchmarks/time_to_loss.py TRAIN VALID [--steps N] [--plain-steps 0] [--sample 2] [--docs docs]

Ours is a whole run, evaluations and checkpoints included, timed by the wall clock. The plain loop needs hours for its
20,000 steps, so it makes only `--sample` steps after each of our evaluations, and their time is not counted as ours:
both see the same moments of the machine. The median of these steps, times their number, places the published losses of
the recipe on the tales (`TEXTBOOK_CURVE`) on the clock. With `--plain-steps N` the loop is also trained and measured
for N steps after ours; its evaluations count as taking no time. The losses hold for the tales alone.

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

from unrolled.bench.rivals import PlainLoopModel, plain_loop_model
from unrolled.bench.side_by_side import circumstances
from unrolled.config import Settings, make_settings
from unrolled.data import Corpus, RandomWindows, prepare_corpus
from unrolled.evaluation import validation_loss_nats
from unrolled.nn import LanguageModel
from unrolled.training import Evaluated, train
from unrolled.training.memory import keep_freed_memory

TEXTBOOK_CURVE = {500: 1.80, 1000: 1.62, 2500: 1.42, 5000: 1.32, 7500: 1.27, 10_000: 1.25, 15_000: 1.227, 20_000: 1.216}
PLAIN_LOOP_EVALUATION = 250  # steps between evaluations of the plain PyTorch loop, where it is trained here
FIVE_MINUTES = 300
Curve = list[tuple[float, float]]  # seconds since training began, validation loss in nats


class PlainLoop:
    """The plain loop's model, recipe and training step; `seconds` holds how long every step took."""

    def __init__(self, corpus: Corpus, settings: Settings) -> None:
        training = settings.training
        self._corpus = corpus
        self._ours = LanguageModel(
            settings.model, corpus.tokenizer.vocabulary_size, torch.Generator().manual_seed(training.seed)
        )
        self.model = plain_loop_model(self._ours)
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
        """Measure on the validation text, with our code and the plain loop's weights."""
        copy_weights(self.model, self._ours)
        valid = self._corpus.valid
        nats, tokens = validation_loss_nats(self._ours, valid.ids, self._corpus.tokenizer.start_id, valid.tokens)
        return nats / tokens


@torch.no_grad()
def copy_weights(plain: PlainLoopModel, ours: LanguageModel) -> None:
    """Give our model the weights of the plain loop."""
    for cell, layer in zip(plain.cells, ours.layers, strict=True):
        for letter, weight in (("W", layer.w_ih), ("U", layer.w_hh), ("b", layer.bias)):
            weight.copy_(torch.cat([getattr(cell, f"{letter}_{gate}") for gate in "ifgo"], dim=-1))
    ours.embedding.copy_(plain.embedding.weight)
    ours.output_matrix.copy_(plain.output.weight)
    ours.output_bias.copy_(plain.output.bias)


class InTurn:
    """Listens to our training, and lends the machine to the plain PyTorch loop after each evaluation."""

    def __init__(self, plain: PlainLoop, steps: int) -> None:
        self._plain, self._steps = plain, steps
        self._lent_seconds = 0.0
        self.curve: Curve = []

    def __call__(self, event: object) -> None:
        if not isinstance(event, Evaluated):
            return
        started = time.perf_counter()
        self.curve.append((event.entry["seconds"] - self._lent_seconds, event.entry["valid_loss_nats"]))
        for _ in range(self._steps):
            self._plain.step()
        self._lent_seconds += time.perf_counter() - started


def our_curve(train_file: str, valid_file: str, preset: str, settings: Mapping[str, Any], listener: InTurn) -> Curve:
    """Train, and return when each evaluation was made, and what it found."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        train([train_file], out, preset=preset, valid=[valid_file], settings=settings, listener=listener)
    return listener.curve


def plain_loop_measured_curve(plain: PlainLoop, steps: int, interval: int = PLAIN_LOOP_EVALUATION) -> Curve:
    """Train the plain PyTorch loop, and return its own curve; only its steps are on the clock."""
    curve = []
    for step in range(1, steps + 1):
        plain.step()
        if step % interval == 0 or step == steps:
            curve.append((sum(plain.seconds[-step:]), plain.valid_loss_nats()))
    return curve


def plain_loop_continued_curve(seconds_a_step: float, after_steps: int = 0) -> Curve:
    """Return the losses of the textbook recipe on the tales, where this machine would reach them."""
    return [(step * seconds_a_step, nats) for step, nats in TEXTBOOK_CURVE.items() if step > after_steps]


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
    measured = result["plain_loop_measured_curve"]
    at_its_pace = f"at the {result['plain_loop_seconds_a_step']:.2f} s a step measured here"
    return [
        (f"unrolled, {result['preset']}", result["our_curve"], "#b3432b", "-"),
        *([("plain PyTorch loop, trained here", measured, "#5f6670", "-")] if measured else []),
        # from the last point that was measured, so that no gap is left
        (
            f"plain PyTorch loop: its published losses, {at_its_pace}",
            [*measured[-1:], *result["plain_loop_continued_curve"]],
            "#5f6670",
            ":",
        ),
    ]


def measure(arguments: argparse.Namespace, recipe: Settings, our_settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run ours with the plain loop in turn, then the plain loop alone if requested; return the figures."""
    keep_freed_memory()
    corpus = prepare_corpus([arguments.train], recipe.data, valid_sources=[arguments.valid])
    plain = PlainLoop(corpus, recipe)
    plain.step()  # the first one warms up
    plain.seconds.clear()
    in_turn = InTurn(plain, arguments.sample)
    ours = our_curve(arguments.train, arguments.valid, arguments.preset, our_settings, in_turn)
    seconds_a_step = statistics.median(plain.seconds)
    trained = plain_loop_measured_curve(PlainLoop(corpus, recipe), arguments.plain_steps)
    continued = plain_loop_continued_curve(seconds_a_step, arguments.plain_steps)
    plain_loop_seconds, our_seconds = first_at(trained + continued, arguments.target), first_at(ours, arguments.target)
    return {
        **circumstances(arguments.sample),
        "preset": arguments.preset,
        "target_nats": arguments.target,
        "plain_loop_seconds_a_step": seconds_a_step,
        "plain_loop_fastest_step_seconds": min(plain.seconds),
        "plain_loop_steps_timed": len(plain.seconds),
        "plain_loop_seconds": plain_loop_seconds,
        "our_seconds": our_seconds,
        "times_as_soon": None
        if plain_loop_seconds is None or our_seconds is None
        else plain_loop_seconds / our_seconds,
        "ours_after_5_minutes_nats": min((nats for seconds, nats in ours if seconds <= FIVE_MINUTES), default=None),
        "our_curve": ours,
        "plain_loop_measured_curve": trained,
        "plain_loop_continued_curve": continued,
    }


def report(result: Mapping[str, Any]) -> list[str]:
    """Return the figures as lines for people."""
    target = f"{result['target_nats']} nats a character"
    plain_loop_time, our_time = _minutes(result["plain_loop_seconds"]), _minutes(result["our_seconds"])
    lines = [
        f"{result['machine']}, {result['threads']} threads, torch {result['torch']}",
        f"plain PyTorch loop: {result['plain_loop_seconds_a_step']:.3f} s a step "
        f"(median of {result['plain_loop_steps_timed']})",
        f"{target}: plain PyTorch loop after {plain_loop_time}, ours after {our_time}",
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
    parser.add_argument("--plain-steps", type=int, default=0, help="also train the plain PyTorch loop for N steps")
    parser.add_argument(
        "--sample", type=_at_least_one, default=2, help="steps of the plain loop after each evaluation of ours"
    )
    parser.add_argument("--target", type=float, default=TEXTBOOK_CURVE[20_000])
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

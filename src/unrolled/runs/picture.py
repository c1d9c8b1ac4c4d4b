"""`loss.png`: training and validation loss over the steps, from `metrics.jsonl`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.runs.atomic import write_atomically
from unrolled.units import bits_from_nats

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_loss(
    path: Path, metrics: list[dict[str, Any]], title: str, before_part: Callable[[], None] | None = None
) -> None:
    """Draw the curves of both losses in nats per token, with bits on the right-hand axis.

    Args:
        path: the PNG file.
        metrics: the lines of `metrics.jsonl`.
        title: shown above the curves.
        before_part: is called before each part of the work; what it raises ends the drawing, and no file is written.
    """
    look = before_part if before_part is not None else _nothing
    look()
    from matplotlib.figure import Figure  # heavy, and only needed here; a Figure of one's own touches no global state

    look()
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    _draw(figure, metrics, title)
    look()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    look()
    write_atomically(path, buffer.getvalue())


def _nothing() -> None:
    pass


def _draw(figure: Figure, metrics: list[dict[str, Any]], title: str) -> None:
    steps = [entry["step"] for entry in metrics]
    axes = figure.add_subplot()
    for key, label, colour in (
        ("train_loss_nats", "training", "#8a8f98"),
        ("valid_loss_nats", "validation", "#b3432b"),
    ):
        values = [float("nan") if entry.get(key) is None else entry[key] for entry in metrics]
        axes.plot(
            steps, values, label=label, color=colour, linewidth=1.8, marker="o" if len(steps) < 30 else None, ms=3
        )
    best = min((entry for entry in metrics if entry.get("valid_loss_nats") is not None), default=None, key=_valid)
    if best is not None:
        axes.axhline(best["valid_loss_nats"], color="#b3432b", linewidth=0.6, linestyle=":")
    axes.set(xlabel="optimizer steps", ylabel="loss (nats per token)", title=title)
    axes.secondary_yaxis("right", functions=(bits_from_nats, _nats)).set_ylabel("bits per token")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def _valid(entry: dict[str, Any]) -> float:
    return entry["valid_loss_nats"]


def _nats(bits):
    return bits / bits_from_nats(1.0)

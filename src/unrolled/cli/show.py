"""Showing the progress of training: a live line on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from unrolled.cli.printing import print_json, printable, remark
from unrolled.cli.stopping import STOPPED
from unrolled.cli.typed import own_name, resume_command
from unrolled.training import Evaluated, Event, Finished, Listener, Note, Previewed, RolledBack, Started, Stepped
from unrolled.training.resuming import STEPS_WITHOUT_LIMIT
from unrolled.units import bits_from_nats, perplexity


@contextmanager
def listener_for(quiet: bool) -> Iterator[Listener]:
    """Yield a listener that prints events to standard error, or nothing if `quiet`."""
    if quiet:
        yield lambda event: None
        return
    display = TrainingDisplay()
    try:
        yield display
    finally:
        display.close()


class TrainingDisplay:
    """Prints events, with a live line if standard error is a terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=1.0)
        self.of_steps = ""
        self.seconds_left = 0.0
        self.valid_bits = float("nan")

    def __call__(self, event: Event) -> None:
        """Show one event."""
        show = {
            Note: self._note,
            Started: self._started,
            Stepped: self._stepped,
            Evaluated: self._evaluated,
            Previewed: self._previewed,
            RolledBack: self._rolled_back,
        }.get(type(event))
        if show is not None:
            show(event)

    def close(self) -> None:
        """Remove the live line."""
        self.bar.stop()

    def _say(self, text: str, style: str = "") -> None:
        self.console.print(Text(printable(text), style=style), soft_wrap=True)

    def _note(self, event: Note) -> None:
        self._say(f"Note: {event.text}", "yellow")

    def _started(self, event: Started) -> None:
        self.of_steps = "" if event.steps == STEPS_WITHOUT_LIMIT else f"/{event.steps:,}"
        limits = [] if event.steps == STEPS_WITHOUT_LIMIT else [f"{event.steps:,} steps"]
        limits += [] if event.minutes is None else [f"{event.minutes:g} minutes"]
        self._say(
            f"{event.parameters:,} parameters, vocabulary {event.vocabulary_size}; {event.train_tokens:,} training and "
            f"{event.valid_tokens:,} validation tokens"
        )
        self._say(
            f"device {event.device} ({event.device_reason}), {event.threads} threads; kernel {event.kernel} "
            f"({event.kernel_reason}), {event.precision} ({event.precision_reason})"
        )
        begin = f"resuming after step {event.step:,}" if event.step else "training"
        self._say(f"{begin}, at most {' or '.join(limits)}; batch {event.batch_size} x {event.window} tokens")
        self.bar.start()

    def _stepped(self, event: Stepped) -> None:
        self.seconds_left = event.seconds_left
        bits = "" if self.valid_bits != self.valid_bits else f"  valid {self.valid_bits:.3f} bits/char"
        self.bar.update(
            self.task,
            completed=event.progress_fraction,
            description=f"step {event.step:,}{self.of_steps}  loss {event.loss_nats:.3f}{bits}"
            f"  {event.tokens_per_second:,.0f} tokens/s  {_duration(event.seconds_left)} left",
        )

    def _evaluated(self, event: Evaluated) -> None:
        entry = event.entry
        self.valid_bits = entry["valid_bits_per_char"]
        self._say(
            f"step {entry['step']:>6,}  {_duration(entry['seconds']):>7}  train {entry['train_loss_nats']:.3f}  valid "
            f"{entry['valid_loss_nats']:.3f} nats/token, {self.valid_bits:.3f} bits/char  "
            f"{entry['tokens_per_second']:,.0f} tokens/s  {_duration(self.seconds_left)} left"
            f"{'  *best' if event.is_best else ''}",
            "bold" if event.is_best else "",
        )

    def _previewed(self, event: Previewed) -> None:
        lines = (event.prompt + event.text).strip().splitlines()
        self._say("\n".join(f"    | {line}" for line in lines), "dim")

    def _rolled_back(self, event: RolledBack) -> None:
        self._say(
            f"At step {event.step:,} {event.reason}: back to step {event.to_step:,} at {event.rate_factor:g} of the "
            "learning rate.",
            "red",
        )


def print_finished(finished: Finished, as_json: bool) -> int:
    """Print the result of training as a JSON object, or as a table with figures, files and the next commands."""
    if as_json:
        print_json(asdict(finished))
    else:
        Console(file=sys.stdout, highlight=False, markup=False).print(_table(finished))
    if not finished.interrupted:
        return 0
    sys.stdout.flush()
    remark(f"Continue with: {resume_command(finished.folder)}")  # printed last, on one line that can be copied
    return STOPPED


def _table(finished: Finished) -> Table:
    table = Table(
        show_header=False, title=f"Training ended: {finished.reason}", title_justify="left", title_style="bold"
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    run, unrolled = shlex.quote(printable(finished.folder)), own_name()
    if finished.best is not None:
        for row in _learnt(finished.best):
            table.add_row(*row)
    table.add_row("time", f"{_duration(finished.seconds)}, {finished.step:,} steps")
    table.add_row("files", f"{run}: {', '.join(_files_in(Path(finished.folder)))}")
    table.add_row("generate", f'{unrolled} generate {run} "Once upon a time"')
    table.add_row("in a browser", f"{unrolled} serve {run}")
    if not finished.interrupted:
        table.add_row("continue", f"{resume_command(finished.folder)} --minutes 10")
    return table


def _files_in(folder: Path) -> list[str]:
    """Return the files of a run to list; metrics and plot exist only after the first evaluation."""
    with_metrics = [name for name in ("metrics.jsonl", "loss.png") if (folder / name).is_file()]
    return ["weights", "vocabulary", "settings", *with_metrics, "README.md"]


def _learnt(best: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows about the best weights; figures that JSON cannot represent are missing."""
    nats, train_nats, bits = (best.get(name) for name in ("valid_loss_nats", "train_loss_nats", "valid_bits_per_char"))
    if nats is None or bits is None:
        return []
    rows = [
        (
            "result",
            f"{bits:.3f} bits per character on the validation text ({nats:.4f} nats, perplexity "
            f"{perplexity(nats):.2f} per token), best at step {best['step']:,}",
        )
    ]
    gap = 0.0 if train_nats is None else nats - train_nats
    if gap > 0.25:
        rows.append(
            ("warning", f"the training text is {bits_from_nats(gap):.2f} bits easier: expect memorized passages")
        )
    return rows


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"

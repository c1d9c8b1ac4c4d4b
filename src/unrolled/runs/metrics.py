"""`metrics.jsonl`: a line an evaluation, in the order of the steps.

Keys: step, seconds, train_loss_nats, valid_loss_nats, valid_perplexity, valid_bits_per_char, tokens_per_second,
learning_rate. Losses are means per token.

The file of a run from elsewhere can hold anything and be of any size. What is read is bounded, and a line counts only
where it is an object with a possible step and possible numbers; how many lines did not is said, not raised.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from unrolled.errors import UserError
from unrolled.files import open_regular
from unrolled.runs.atomic import unwritable, write_atomically
from unrolled.strict_json import JsonProblem, parse_json

LARGEST = {  # of each number; no training comes near, and sums and squares of such numbers stay finite
    "seconds": 1e12,
    "train_loss_nats": 1e9,
    "valid_loss_nats": 1e9,
    "valid_perplexity": sys.float_info.max,  # exp of a loss
    "valid_bits_per_char": 1e12,
    "tokens_per_second": 1e15,
    "learning_rate": 1e9,
}
LATEST_STEP = 10**12
MOST_BYTES = 128 * 2**20
MOST_LINES = 200_000
MOST_LINE_BYTES = 2**14  # a line of ours has about 300
WHOLE_FILE = "metrics-whole.jsonl"
_TOO_LONG = b"["  # placeholder for a line that was not held in memory; it is not valid JSON either
_FLAGS = getattr(os, "O_NONBLOCK", 0)  # opening a pipe does not wait for a reader


@dataclass(frozen=True)
class Metrics:
    """What was read of a file.

    Attributes:
        entries: the lines that are sound, each a step and the numbers that are known here; a number may be missing.
        left_out: how many lines are damaged.
        is_cut: there is more in the file than is ever read.
    """

    entries: list[dict[str, Any]]
    left_out: int = 0
    is_cut: bool = False

    @property
    def notes(self) -> list[str]:
        """What a user should know about the file."""
        notes = []
        if self.left_out:
            lines = "1 line" if self.left_out == 1 else f"{self.left_out:,} lines"
            notes.append(f"metrics.jsonl: {lines} left out because of damage.")
        if self.is_cut:
            notes.append(
                f"metrics.jsonl: only its first {MOST_LINES:,} lines, or {MOST_BYTES // 2**20} MiB, were read; it is "
                "larger than the file of any training."
            )
        return notes


def append_metrics(path: Path, entry: dict[str, Any]) -> None:
    """Add one line; numbers that JSON cannot hold become null.

    Raises:
        UserError: the disk is full, or the file cannot be written.
    """
    finite = {key: _finite_or_none(value) for key, value in entry.items()}
    try:
        with open(path, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags | _FLAGS, 0o666)) as file:
            file.write(json.dumps(finite, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the sound lines; see `check_metrics`."""
    return check_metrics(path).entries


def check_metrics(path: Path) -> Metrics:
    """Read the valid lines and note the others, such as a last line that was cut off by a crash.

    Raises:
        UserError: the file is not a regular one, or it cannot be read; where there is none, there are no lines.
    """
    try:
        with open_regular(path, sys.maxsize) as file:
            return _read(file)
    except FileNotFoundError:
        return Metrics([])
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from None


def keep_metrics_up_to(path: Path, step: int) -> list[str]:
    """Drop the lines after `step`: training continues from there and will write them again.

    Damaged lines are dropped too. A file that is too large to be read whole stays as `metrics-whole.jsonl`.

    Returns:
        Notes for the user about lines and files that training would not have left.

    Raises:
        UserError: the file cannot be read or written.
    """
    metrics = check_metrics(path)
    notes = metrics.notes
    if metrics.is_cut:
        _put_aside(path)
        notes = [*notes, f"The whole file is kept as {WHOLE_FILE}."]
    kept = [entry for entry in metrics.entries if entry["step"] <= step]
    write_atomically(path, "".join(json.dumps(entry) + "\n" for entry in kept).encode())
    return notes


def _put_aside(path: Path) -> None:
    try:
        os.replace(path, path.with_name(WHOLE_FILE))
    except OSError as error:
        raise unwritable(path.with_name(WHOLE_FILE), error) from error


def _read(file: BinaryIO) -> Metrics:
    entries, left_out = [], 0
    for line in itertools.islice(_lines(file), MOST_LINES):
        if (entry := _entry(line)) is not None:
            entries.append(entry)
        elif line.strip():
            left_out += 1
    return Metrics(entries, left_out, is_cut=bool(file.read(1)))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines until `MOST_BYTES` were read; of one that is too long nothing is held but that it was there."""
    left, at_start = MOST_BYTES, True
    while left and (part := file.readline(min(left, MOST_LINE_BYTES))):
        left -= len(part)
        ends = part.endswith(b"\n")
        if at_start:
            yield part if ends or len(part) < MOST_LINE_BYTES else _TOO_LONG
        at_start = ends


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return the step and the known numbers of a line, or None where any of them is impossible."""
    try:
        values = parse_json(line)
    except JsonProblem:
        return None
    if not isinstance(values, dict) or type(step := values.get("step")) is not int or not 0 <= step <= LATEST_STEP:
        return None
    numbers = {key: values[key] for key in LARGEST if key in values}
    possible = all(_is_possible(value, LARGEST[key]) for key, value in numbers.items())
    return {"step": step, **numbers} if possible else None


def _is_possible(value: Any, largest: float) -> bool:
    return value is None or (type(value) in (int, float) and -largest <= value <= largest)


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""`metrics.jsonl`: a line an evaluation, in the order of the steps.

Keys: step, seconds, train_loss_nats, valid_loss_nats, valid_perplexity, valid_bits_per_char, tokens_per_second,
learning_rate. Losses are means per token.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from unrolled.runs.atomic import unwritable, write_atomically


def append_metrics(path: Path, entry: dict[str, Any]) -> None:
    """Add one line; numbers that JSON cannot hold become null.

    Raises:
        UserError: the disk is full, or the file cannot be written.
    """
    finite = {key: _finite_or_none(value) for key, value in entry.items()}
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return all whole lines; a last line that was cut off by a crash is left out."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(entry)
    return entries


def keep_metrics_up_to(path: Path, step: int) -> None:
    """Drop the lines after `step`: training goes on from there and will write them again."""
    kept = [entry for entry in read_metrics(path) if entry["step"] <= step]
    write_atomically(path, "".join(json.dumps(entry) + "\n" for entry in kept).encode())


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""The files of a run that training writes; for a rank that must not write, the same methods change nothing."""

from __future__ import annotations

from typing import Any

from unrolled.nn import LanguageModel
from unrolled.runs import (
    BestWeights,
    Checkpoint,
    RunFolder,
    append_metrics,
    keep_metrics_up_to,
    read_metrics,
    write_checkpoint,
    write_weights,
)


class RunFiles:
    """Checkpoint, weights and metrics of a run.

    Args:
        folder: the run.
        writes: whether anything is written.
    """

    def __init__(self, folder: RunFolder, writes: bool = True) -> None:
        self.folder = folder
        self.writes = writes

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint on disk."""
        if self.writes:
            write_checkpoint(self.folder.checkpoint, checkpoint)

    def write_weights(self, model: LanguageModel, about: BestWeights) -> None:
        """Replace the weights that users open."""
        if self.writes:
            write_weights(self.folder.weights, dict(model.state_dict()), about)

    def append_metrics(self, entry: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        if self.writes:
            append_metrics(self.folder.metrics, entry)

    def keep_metrics_up_to(self, step: int) -> tuple[str, ...]:
        """Drop the lines of `metrics.jsonl` after a step; return notes for the user."""
        return tuple(keep_metrics_up_to(self.folder.metrics, step)) if self.writes else ()

    def entry_of(self, step: int) -> dict[str, Any] | None:
        """Return the line of `metrics.jsonl` for a step, if there is one."""
        entries = [entry for entry in read_metrics(self.folder.metrics) if entry["step"] == step]
        return entries[-1] if entries else None

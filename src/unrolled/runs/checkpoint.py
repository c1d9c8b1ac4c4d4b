"""All that a stopped training needs to go on exactly, in one file: tensors, and a small JSON in its metadata.

One file, renamed into place when it is complete: there is never a checkpoint of which only half is new. No pickle: the
optimiser's moments, the random generators' states and the hidden state are tensors, the counters are JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unrolled.errors import UserError
from unrolled.runs.atomic import write_atomically

METADATA_KEY = "unrolled-checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by dotted name, and counters."""

    tensors: dict[str, Tensor]
    counters: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under `prefix.`, without it."""
        start = prefix + "."
        return {name[len(start) :]: tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; the one before it stays whole until this one is.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in checkpoint.tensors.items()}
    metadata = {METADATA_KEY: json.dumps(checkpoint.counters, allow_nan=False)}
    write_atomically(path, save(tensors, metadata))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UserError: it is missing, truncated or foreign.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            counters = _counters(file.metadata())
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, counters)  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(
            f"There is no checkpoint at {path}: the run stopped before its first one, or the folder was moved. Train "
            "it again with --force, or start from its weights with --init-from."
        ) from None
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged and training cannot go on from it; start from the run's best weights with --init-from."
        ) from error


def _counters(metadata: dict[str, str] | None) -> dict[str, Any]:
    counters = json.loads((metadata or {})[METADATA_KEY])
    if not isinstance(counters, dict):
        raise ValueError("the counters are not a JSON object")
    return counters

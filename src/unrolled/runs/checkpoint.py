"""All that a stopped run needs to resume exactly, in one file: tensors, and a small JSON in its metadata.

One file, renamed into place when it is complete: there is never a checkpoint of which only half is new. No pickle: the
optimizer's moments, the random generators' states and the hidden state are tensors, the counters are JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from unrolled.errors import UserError
from unrolled.runs.atomic import write_atomically
from unrolled.runs.safetensors_file import SafetensorsProblem, open_safetensors
from unrolled.strict_json import parse_json

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


def read_checkpoint(path: Path, largest_bytes: int = sys.maxsize) -> Checkpoint:
    """Read a checkpoint into memory; afterwards the file is not needed.

    Args:
        path: the file.
        largest_bytes: the largest size of a checkpoint of this run; a larger file is refused before it is read.

    Raises:
        UserError: it is missing, truncated or foreign.
    """
    try:
        with open_safetensors(path, largest_bytes) as file:
            counters = _counters(file.metadata)
            return Checkpoint(file.read(), counters)
    except FileNotFoundError:
        raise UserError(
            f"There is no checkpoint at {path}: the run stopped before its first one, or the folder was moved. Train "
            "it again with --force, or start from its weights with --init-from."
        ) from None
    except UserError as error:
        raise UserError(f"The checkpoint is damaged: {error} Or start from the best weights: --init-from.") from None
    except (SafetensorsProblem, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is damaged and training cannot continue from it; start from the run's best weights with "
            "--init-from."
        ) from error


def _counters(metadata: dict[str, str]) -> dict[str, Any]:
    counters = parse_json(metadata[METADATA_KEY])
    if not isinstance(counters, dict):
        raise ValueError("the counters are not a JSON object")
    return counters

"""Weights in a safetensors file, checked against the configuration before a byte of them is allocated.

The file's metadata ties them to their tokenizer and says at which step they did best.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unrolled.errors import UserError
from unrolled.runs.atomic import write_atomically


@dataclass(frozen=True)
class BestWeights:
    """Where the weights in `model.safetensors` come from."""

    step: int
    valid_loss_nats: float | None  # none: stopped before the first evaluation
    tokenizer_sha256: str


def write_weights(path: Path, tensors: dict[str, Tensor], about: BestWeights) -> None:
    """Write weights atomically; they are stored without a device."""
    metadata = {"format": "pt", "unrolled": json.dumps(asdict(about), allow_nan=False)}
    on_cpu = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(on_cpu, metadata))


def read_weights(
    path: Path, shapes: dict[str, torch.Size], tokenizer_sha256: str
) -> tuple[dict[str, Tensor], BestWeights]:
    """Read weights that must have exactly these names and shapes.

    Raises:
        UserError: the file is missing, truncated or foreign, disagrees with the configuration or the tokenizer, or
            holds numbers that are not finite.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            about = _about(file.metadata(), path)
            _check_shapes(file, shapes, path)
            tensors = {name: file.get_tensor(name) for name in shapes}
    except FileNotFoundError:
        raise UserError(f"{path} is missing; the run has no weights yet, or they were moved.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or is no safetensors file; restore it or train again.") from error
    if about.tokenizer_sha256 != tokenizer_sha256:
        raise UserError(
            f"{path} was trained with another tokenizer than the one beside it; put back the run's own files."
        )
    damaged = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if damaged:
        raise UserError(
            f"{path} holds numbers that are not finite, in {', '.join(damaged)}; restore it or train again."
        )
    return tensors, about


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _about(metadata: dict[str, str] | None, path: Path) -> BestWeights:
    try:
        values = json.loads((metadata or {})["unrolled"])
        loss = values["valid_loss_nats"]
        loss = float(loss) if loss is not None and math.isfinite(loss) else None
        return BestWeights(int(values["step"]), loss, str(values["tokenizer_sha256"]))
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{path} holds weights that unrolled did not write; it cannot be opened as a run.") from error


def _check_shapes(file, shapes: dict[str, torch.Size], path: Path) -> None:
    found = set(file.keys())
    problems = [f"{name} is missing" for name in shapes if name not in found]
    problems += [f"{name} is not part of this model" for name in sorted(found - set(shapes))]
    for name in sorted(found & set(shapes)):
        part = file.get_slice(name)
        if list(part.get_shape()) != list(shapes[name]):
            problems.append(f"{name} is {part.get_shape()} and should be {list(shapes[name])}")
        elif part.get_dtype() not in ("F32", "F16", "BF16"):
            problems.append(f"{name} has the type {part.get_dtype()}")
    if problems:
        shown = "; ".join(problems[:5]) + ("; ..." if len(problems) > 5 else "")
        raise UserError(f"{path} disagrees with config.json: {shown}. Put back the run's own files.")

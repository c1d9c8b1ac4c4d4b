"""Weights in a safetensors file, checked against the configuration before a byte of them is allocated.

They are copied into memory, so a model in use does not depend on its file.

The file's metadata ties them to their tokenizer and says at which step they did best.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from unrolled.errors import UserError
from unrolled.runs.atomic import write_atomically
from unrolled.runs.safetensors_file import Entry, SafetensorsProblem, open_safetensors
from unrolled.strict_json import parse_json

LATEST_STEP = 10**12
WEIGHT_TYPES = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class BestWeights:
    """Where the weights in `model.safetensors` come from."""

    step: int
    valid_loss_nats: float | None  # none: stopped before the first evaluation
    tokenizer_sha256: str


@dataclass(frozen=True)
class StoredWeights:
    """What was read of `model.safetensors`: the tensors, where they come from, and the file's size and SHA-256."""

    tensors: dict[str, Tensor]
    about: BestWeights
    size_bytes: int
    sha256: str


def write_weights(path: Path, tensors: dict[str, Tensor], about: BestWeights) -> None:
    """Write weights atomically; they are stored without a device."""
    metadata = {"format": "pt", "unrolled": json.dumps(asdict(about), allow_nan=False)}
    on_cpu = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(on_cpu, metadata))


def read_weights(path: Path, shapes: dict[str, torch.Size], tokenizer_sha256: str) -> StoredWeights:
    """Read weights that must have exactly these names and shapes, which bounds what is read.

    Raises:
        UserError: the file is missing, truncated or foreign, disagrees with the configuration or the tokenizer, or
            holds numbers that are not finite.
    """
    try:
        with open_safetensors(path) as file:
            about = _about(file.metadata, path)
            _check_shapes(file.entries, shapes, path)
            _check_tokenizer(about, tokenizer_sha256, path)
            tensors = file.read()
            stored = StoredWeights({name: tensors[name] for name in shapes}, about, file.size_bytes, file.sha256)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; the run has no weights yet, or they were moved.") from None
    except SafetensorsProblem as problem:
        raise UserError(f"{path} is damaged or is not a safetensors file; restore it or train again.") from problem
    _check_finite(stored.tensors, path)
    return stored


def _about(metadata: dict[str, str], path: Path) -> BestWeights:
    try:
        values = parse_json(metadata["unrolled"])
        step, loss, fingerprint = values["step"], values["valid_loss_nats"], values["tokenizer_sha256"]
        if type(step) is not int or not 0 <= step <= LATEST_STEP or type(loss) not in (int, float, type(None)):
            raise ValueError("a number is impossible")
        return BestWeights(step, None if loss is None else float(loss), str(fingerprint))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path} holds weights that unrolled did not write; it cannot be opened as a run.") from error


def _check_shapes(entries: dict[str, Entry], shapes: dict[str, torch.Size], path: Path) -> None:
    problems = [f"{name} is missing" for name in shapes if name not in entries]
    problems += [f"{name} is not part of this model" for name in sorted(set(entries) - set(shapes))]
    for name in sorted(set(entries) & set(shapes)):
        shape, dtype = entries[name].shape, entries[name].dtype
        if shape != tuple(shapes[name]):
            problems.append(f"{name} is {list(shape)} and should be {list(shapes[name])}")
        elif dtype not in WEIGHT_TYPES:
            problems.append(f"{name} has the type {dtype}")
    if problems:
        shown = "; ".join(problems[:5]) + ("; ..." if len(problems) > 5 else "")
        raise UserError(f"{path} disagrees with config.json: {shown}. Put back the run's own files.")


def _check_tokenizer(about: BestWeights, tokenizer_sha256: str, path: Path) -> None:
    if about.tokenizer_sha256 != tokenizer_sha256:
        raise UserError(
            f"{path} was trained with another tokenizer than the one in this run; put back the run's own files."
        )


def _check_finite(tensors: dict[str, Tensor], path: Path) -> None:
    damaged = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if damaged:
        raise UserError(
            f"{path} holds numbers that are not finite, in {', '.join(damaged)}; restore it or train again."
        )

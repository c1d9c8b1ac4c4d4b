"""From what a checkpoint holds to its named tensors, and from one tensor to ordinary float32 numbers.

The file holds a bare state dict, or a dict with the state dict beside the epoch and the optimizer. Some tensors look
small and are large: a view that repeats one number a billion times, sparse or quantized ones. Those are refused before
anything is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.errors import UserError

WRAPPERS = ("state_dict", "model_state_dict", "model")
NUMBERS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
FEWEST_TENSORS = 3  # of a model: an embedding, a layer, an output
MOST_TENSORS = 2_000  # of one with 64 layers there are 259
LONGEST_NAME = 300
MOST_OWNERS = 4  # of the same numbers: a tied embedding has up to three names


def state_dict_of(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors by name, bare or out of the dict that they are wrapped in.

    Raises:
        UserError: there are none, far too many, or more than one dict of them.
    """
    tensors = _named_tensors(content, path)
    if len(tensors) > MOST_TENSORS:
        raise UserError(f"{path} holds {len(tensors):,} tensors, far more than any model here has.")
    if strange := [name for name in tensors if len(name) > LONGEST_NAME or not name.isprintable()]:
        raise UserError(f"{path} holds a tensor with a name that no module of PyTorch has: {strange[0]!r:.80}.")
    _check_sharing(tensors.values(), path)
    return tensors


def _check_sharing(tensors: Iterable[Tensor], path: Path) -> None:
    """Refuse many tensors over the same numbers: each is copied before it is used."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    whole = [min(tensor.nbytes, tensor.untyped_storage().nbytes()) for tensor in tensors]
    if sum(whole) > MOST_OWNERS * sum(storages.values()):
        raise UserError(
            f"{path} holds tensors that share their numbers: {sum(whole):,} bytes of them, and "
            f"{sum(storages.values()):,} in the file; save a copy of each: tensor.clone()."
        )


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, dict):
        named = {key: _tensors_of(value) for key, value in dict.items(content) if isinstance(key, str)}
        found = {key: named[key] for key in WRAPPERS if named.get(key)}
        if not found and (bare := _tensors_of(content)):
            return bare
        found = found or {key: tensors for key, tensors in named.items() if len(tensors) >= FEWEST_TENSORS}
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            names = ", ".join(f"{key!r:.60} ({len(tensors)} tensors)" for key, tensors in found.items())
            raise UserError(f"{path} holds several models: {names}; save the one that you want: torch.save(it, path).")
    raise UserError(
        f"{path} holds {_described(content)}, but no named tensors; expected is a state dict, as "
        "torch.save(model.state_dict(), path) writes it."
    )


def as_float32(tensor: Tensor, name: str, path: Path) -> Tensor:
    """Return a copy of a tensor as float32.

    Raises:
        UserError: it is not an ordinary array of floating-point numbers, or one of them is not finite.
    """
    reason = _peculiarity(tensor)
    if reason is not None:
        raise UserError(f"{path}: {name} is {reason}; save the model's weights as ordinary float32 tensors.")
    numbers = tensor.detach().to(torch.float32).contiguous()
    if not torch.isfinite(numbers).all():
        raise UserError(f"{path}: {name} holds numbers that are not finite in float32; the training of it went wrong.")
    return numbers


def _peculiarity(tensor: Tensor) -> str | None:
    """Return what is unusual about a tensor, or nothing; looks at its description only."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided or tensor.is_quantized:
        return "a sparse, quantised or otherwise special tensor"
    if tensor.dtype not in NUMBERS:
        return f"of the type {str(tensor.dtype).removeprefix('torch.')}, not floating-point numbers"
    if tensor.device.type != "cpu" or tensor.is_conj() or tensor.is_neg():
        return "not stored as plain numbers"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"of the shape {shown_shape(tensor)}, but has fewer numbers than that in the file"
    return None


def shown_shape(tensor: Tensor) -> str:
    """Return a shape as `(3, 4)`."""
    return str(tuple(tensor.shape))


def _tensors_of(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    return {name: value for name, value in dict.items(content) if isinstance(name, str) and isinstance(value, Tensor)}


def _described(content: Any) -> str:
    if isinstance(content, dict):
        keys = ", ".join(f"{key!r:.40}" for key in list(dict.keys(content))[:6])
        return f"a dict of {keys}" if keys else "an empty dict"
    return {list: "a list", str: "a text", int: "a number"}.get(type(content), f"a {type(content).__name__}")

"""The layers of `torch.nn.LSTM`, under any names.

    weight_ih_l{k} (4H, I)    weight_hh_l{k} (4H, H)    bias_ih_l{k}, bias_hh_l{k} (4H,)      gates i f g o in rows

So `lstm.weight_ih_l1` is the second layer of `lstm`. A list of single-layer LSTMs (`rnns.0`, `rnns.1`, as AWD-LSTM has
it, https://github.com/salesforce/awd-lstm-lm) and of cells (`cells.0.weight_ih`) are layers one above the other too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unrolled.errors import UserError
from unrolled.importers.foreign import ForeignLayer, check_chain
from unrolled.importers.tensors import as_float32, shown_shape
from unrolled.kernels import GATES

PART = re.compile(r"(?P<home>.*?)(?P<part>(?:weight|bias)_(?:ih|hh))(?:_l(?P<layer>[0-9]{1,4}))?(?P<raw>_raw)?")
NUMBERED = re.compile(r"(?P<stem>.*?)(?P<number>[0-9]{1,4})\.")
VARIANTS = {
    re.compile(r".*_l[0-9]+_reverse"): "reads the text backwards too (bidirectional), and so cannot write it",
    re.compile(r".*weight_hr_l[0-9]+"): "projects its hidden state (proj_size), which unrolled's layers do not do",
    re.compile(r".*weight_[ih]h(_l[0-9]+)?_[gv]"): "keeps its weights split by weight_norm; remove it before saving",
}
KINDS = {3: "a GRU", 1: "a plain RNN"}


class Place(NamedTuple):
    """The place of a layer: in the list `stem`, at `number`, as layer `layer` of the LSTM there."""

    stem: str
    number: int
    layer: int


def find_stacks(tensors: Mapping[str, Tensor], path: Path) -> dict[str, dict[Place, dict[str, str]]]:
    """Return the names of all LSTM parts: stack -> place -> part -> name.

    Raises:
        UserError: an LSTM is of a variant that reads like one of ours and is not.
    """
    for name in tensors:
        for pattern, what in VARIANTS.items():
            if pattern.fullmatch(name):
                raise UserError(f"{path} cannot be imported: its LSTM {what} (found {name!r:.100}).")
    stacks: dict[str, dict[Place, dict[str, str]]] = {}
    for name in tensors:
        if (match := PART.fullmatch(name)) is not None:
            place = _place(match)
            part = match["part"] + (match["raw"] or "")
            stacks.setdefault(place.stem, {}).setdefault(place, {})[part] = name
    return stacks


def read_stack(
    tensors: Mapping[str, Tensor], places: Mapping[Place, Mapping[str, str]], path: Path
) -> tuple[ForeignLayer, ...]:
    """Return a stack's layers, lowest first.

    Raises:
        UserError: a layer is missing, or has impossible shapes.
    """
    _check_complete(places, path)
    layers = tuple(_layer(tensors, places[place], path) for place in sorted(places))
    check_chain(layers, path)
    return layers


def _place(match: re.Match[str]) -> Place:
    # AWD-LSTM's weight dropout wraps each LSTM, and calls what it wraps "module"
    home = match["home"].removesuffix("module.")
    numbered = NUMBERED.fullmatch(home)
    layer = int(match["layer"] or 0)
    return Place(home, 0, layer) if numbered is None else Place(numbered["stem"], int(numbered["number"]), layer)


def _check_complete(places: Mapping[Place, Mapping[str, str]], path: Path) -> None:
    """Refuse gaps: of two layers of one size, a third between them would not be missed otherwise."""
    stem = next(iter(places)).stem
    numbers = sorted({place.number for place in places})
    first = min(numbers[0], 1) if len(numbers) > 1 else numbers[0]  # lists begin at 0, some people's names at 1
    for number in range(first, numbers[-1] + 1):
        found = sorted(place.layer for place in places if place.number == number)
        if found != list(range(len(found))) or not found:
            missing = next(k for k in range(len(found) + 1) if k not in found)
            name = f"{stem}{number}" if len(numbers) > 1 else f"{stem}weight_ih_l{missing}"
            raise UserError(f"{path} lacks a layer: {name} is missing; save the whole model.")


def _layer(tensors: Mapping[str, Tensor], parts: Mapping[str, str], path: Path) -> ForeignLayer:
    w_ih_name, w_hh_name = (_part_name(parts, part, path) for part in ("weight_ih", "weight_hh"))
    w_ih, w_hh = as_float32(tensors[w_ih_name], w_ih_name, path), as_float32(tensors[w_hh_name], w_hh_name, path)
    _check_matrices(w_ih, w_ih_name, w_hh, w_hh_name, path)
    bias = _bias(tensors, parts, w_hh.shape[0], path)
    return ForeignLayer(w_ih_name, w_ih.t().contiguous(), w_hh.t().contiguous(), bias)


def _part_name(parts: Mapping[str, str], part: str, path: Path) -> str:
    """Return the tensor of a part.

    Weight dropout keeps the weights that are trained as `weight_hh_l0_raw`. Where a plain `weight_hh_l0` stands beside
    them, it is the copy with some numbers dropped that the last step of the training used.
    """
    name = parts.get(part + "_raw", parts.get(part))
    if name is None:
        there = next(iter(parts.values()))
        raise UserError(f"{path} lacks the {part} that belongs to {there}; save the whole model.")
    return name


def _check_matrices(w_ih: Tensor, w_ih_name: str, w_hh: Tensor, w_hh_name: str, path: Path) -> None:
    if w_hh.ndim != 2 or w_ih.ndim != 2 or w_ih.shape[0] != w_hh.shape[0] or 0 in (*w_ih.shape, *w_hh.shape):
        raise UserError(
            f"{path}: {w_ih_name} {shown_shape(w_ih)} and {w_hh_name} {shown_shape(w_hh)} do not fit together; "
            "expected are (4H, I) and (4H, H)."
        )
    rows, hidden_size = w_hh.shape
    if rows != GATES * hidden_size:
        kind = KINDS.get(rows // hidden_size) if rows % hidden_size == 0 else None
        what = f"is that of {kind}, not of an LSTM" if kind else f"is {shown_shape(w_hh)}, and an LSTM's is (4H, H)"
        raise UserError(f"{path} cannot be imported: {w_hh_name} {what}.")


def _bias(tensors: Mapping[str, Tensor], parts: Mapping[str, str], rows: int, path: Path) -> Tensor:
    """Return the sum of the two biases, (4H,): the equations add them anyway; zeros where the LSTM has none."""
    names = [parts[part] for part in ("bias_ih", "bias_hh") if part in parts]
    if len(names) == 1:
        raise UserError(f"{path} holds {names[0]} but not the other bias of that layer; save the whole model.")
    total = torch.zeros(rows)
    for name in names:
        bias = as_float32(tensors[name], name, path)
        if bias.shape != (rows,):
            raise UserError(f"{path}: {name} is {shown_shape(bias)} and should be ({rows},).")
        total = total + bias
    return total

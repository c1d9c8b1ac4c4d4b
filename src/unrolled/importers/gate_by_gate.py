"""The layers of a cell written from the equations, with a matrix for each gate (`LSTMCellFromScratch`).

    a = x U_a + h W_a + b_a     for a = i f g o     U (E, H), W (H, H), b (H,)

So `cell.U_f` is what the forget gate makes of the input. Several cells (`cells.0`, `cells.1`) are layers one above the
other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from unrolled.errors import UserError
from unrolled.importers.foreign import ForeignLayer, check_chain
from unrolled.importers.tensors import as_float32, shown_shape

PART = re.compile(r"(?P<home>.*?)(?P<stem_number>[0-9]{0,4})(?P<dot>\.?)(?P<letter>[UWb])_(?P<gate>[ifgo])")
ORDER = "ifgo"


def find_cells(tensors: Mapping[str, Tensor]) -> dict[str, dict[int, dict[str, str]]]:
    """Return the names of all parts of such cells: list of cells -> number -> part (`U_f`) -> name."""
    cells: dict[str, dict[int, dict[str, str]]] = {}
    for name in tensors:
        if (match := PART.fullmatch(name)) is not None:
            number = int(match["stem_number"] or 0)
            part = f"{match['letter']}_{match['gate']}"
            cells.setdefault(match["home"], {}).setdefault(number, {})[part] = name
    return cells


def read_cells(
    tensors: Mapping[str, Tensor], cells: Mapping[int, Mapping[str, str]], path: Path
) -> tuple[ForeignLayer, ...]:
    """Return the layers, lowest first.

    Raises:
        UserError: a part or a layer is missing, or has another shape than the others imply.
    """
    numbers = sorted(cells)
    first = min(numbers[0], 1)  # lists begin at 0, some people's names at 1
    if len(numbers) > 1 and numbers != list(range(first, first + len(numbers))):
        raise UserError(f"{path} lacks a layer: found are the cells {', '.join(map(str, numbers))}.")
    layers = tuple(_layer(tensors, cells[number], path) for number in numbers)
    check_chain(layers, path)
    return layers


def _layer(tensors: Mapping[str, Tensor], parts: Mapping[str, str], path: Path) -> ForeignLayer:
    wanted = [f"{letter}_{gate}" for letter in "UWb" for gate in ORDER]
    if missing := [part for part in wanted if part not in parts]:
        raise UserError(f"{path} lacks {', '.join(missing)} of the cell with {next(iter(parts.values()))}.")
    found = {part: as_float32(tensors[name], name, path) for part, name in parts.items()}
    _check_shapes(found, parts, path)
    w_ih, w_hh, bias = (torch.cat([found[f"{letter}_{gate}"] for gate in ORDER], dim=-1) for letter in "UWb")
    return ForeignLayer(parts["U_i"], w_ih, w_hh, bias)


def _check_shapes(found: Mapping[str, Tensor], parts: Mapping[str, str], path: Path) -> None:
    U = found["U_i"]
    if U.ndim != 2 or 0 in U.shape:
        raise UserError(f"{path}: {parts['U_i']} is {shown_shape(U)} and should be (E, H).")
    E, H = U.shape
    shapes = {"U": (E, H), "W": (H, H), "b": (H,)}
    for part, tensor in found.items():
        if tensor.shape != shapes[part[0]]:
            raise UserError(
                f"{path}: {parts[part]} is {shown_shape(tensor)} and should be {shapes[part[0]]}, as {parts['U_i']} is "
                f"{shown_shape(U)}."
            )

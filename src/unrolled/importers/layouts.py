"""From named tensors to a model: which layout this is, its layers, its two ends; nothing about it is known beforehand.

Exactly one stack of layers must be there. All other tensors must be the embedding and the output layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from unrolled.errors import UserError
from unrolled.importers.embedding_and_output import find_embedding_and_output, listed
from unrolled.importers.foreign import ForeignModel, check_size
from unrolled.importers.gate_by_gate import find_cells, read_cells
from unrolled.importers.torch_lstm import find_stacks, read_stack

GATE_BY_GATE = "LSTM cell with a matrix for each gate"
TORCH_LSTM = "torch.nn.LSTM"
EXPECTED = (
    "an embedding, a linear layer, and between them either an LSTM of PyTorch (tensors whose names end in "
    "weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0) or a cell with U_i, U_f, U_g, U_o, W_i ... and b_i ..."
)


def read_model(tensors: Mapping[str, Tensor], path: Path) -> ForeignModel:
    """Return the model that a state dict holds.

    Raises:
        UserError: no layout matches, several do, or the shapes do not fit together.
    """
    stacks, cells = find_stacks(tensors, path), find_cells(tensors)
    if len(stacks) + len(cells) != 1:
        raise UserError(_no_single_stack(tensors, {**stacks, **cells}, path))
    if stacks:
        places = next(iter(stacks.values()))
        layout, layers = TORCH_LSTM, read_stack(tensors, places, path)
        used = {name for parts in places.values() for name in parts.values()}
    else:
        numbered = next(iter(cells.values()))
        layout, layers = GATE_BY_GATE, read_cells(tensors, numbered, path)
        used = {name for parts in numbered.values() for name in parts.values()}
    rest = {name: tensor for name, tensor in tensors.items() if name not in used}
    model = ForeignModel(
        layout, layers, find_embedding_and_output(rest, layers[0].input_size, layers[-1].hidden_size, path)
    )
    check_size(model, path)
    return model


def _no_single_stack(tensors: Mapping[str, Tensor], found: Mapping[str, object], path: Path) -> str:
    if found:
        names = ", ".join(f"'{stack}*'" for stack in found)
        return (
            f"{path} is ambiguous: more than one LSTM was found ({names}), and which one writes the text cannot be "
            f"told. Found: {listed(tensors, list(tensors))}; save the state dict of the one language model."
        )
    return f"{path} matches no layout. Found: {listed(tensors, list(tensors)) or 'nothing'}. Expected: {EXPECTED}."

"""Which of a checkpoint's other tensors is the embedding and which the output layer, by shape and then by name.

The embedding is (V, E), where the first layer reads E numbers; the output layer's weight is (V, H), where the last
layer gives H. With E = H two tensors fit both places: the one with a bias is the output layer, else the names must say.
What fits nowhere is an error: a model that is computed without one of its parts would write nonsense.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unrolled.errors import UserError
from unrolled.importers.foreign import EmbeddingAndOutput
from unrolled.importers.tensors import as_float32, shown_shape

EMBEDDINGS = ("emb", "encoder", "wte", "lut", "lookup")
OUTPUTS = ("fc", "decoder", "out", "linear", "head", "proj", "classifier", "dense", "generator")


@dataclass(frozen=True)
class Candidate:
    """A matrix that could be the embedding or the output layer.

    It has all its names, since a tied model saves one matrix twice, and its bias.
    """

    names: tuple[str, ...]
    matrix: Tensor
    bias: str | None

    @property
    def rows(self) -> int:
        return self.matrix.shape[0]

    @property
    def width(self) -> int:
        return self.matrix.shape[1]

    def is_called(self, words: Sequence[str]) -> bool:
        """Tell whether one of its names says so; the name of a model around it says nothing."""
        last = [name.removesuffix(".weight").rpartition(".")[2].lower() for name in self.names]
        return any(word in name for word in words for name in last)


def find_embedding_and_output(
    rest: Mapping[str, Tensor], input_size: int, hidden_size: int, path: Path
) -> EmbeddingAndOutput:
    """Return the embedding and the output layer.

    Args:
        rest: the tensors that are not part of a layer.
        input_size: numbers that the first layer reads, E.
        hidden_size: numbers that the last layer gives, H.

    Raises:
        UserError: none or several would fit, or a tensor is left over.
    """
    candidates = _candidates(rest, path)
    embedding, output = _chosen(candidates, input_size, hidden_size, path)
    used = {*embedding.names, *output.names, output.bias}
    if left := [name for name in rest if name not in used]:
        raise UserError(
            f"{path} holds tensors that have no place in an embedding, an LSTM and a linear layer: "
            f"{listed(rest, left)}; a model without them would write something else."
        )
    bias = torch.zeros(output.rows) if output.bias is None else as_float32(rest[output.bias], output.bias, path)
    return EmbeddingAndOutput(embedding.matrix, output.matrix, bias, tied=embedding is output)


def listed(tensors: Mapping[str, Tensor], names: Sequence[str], most: int = 8) -> str:
    """Return tensors with their shapes, for a message."""
    shown = ", ".join(f"{name:.100} {shown_shape(tensors[name])}" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _candidates(rest: Mapping[str, Tensor], path: Path) -> list[Candidate]:
    """Return the matrices; those with the same numbers in them are one."""
    groups: list[tuple[Tensor, list[str]]] = []
    for name, tensor in rest.items():
        if tensor.ndim != 2 or 0 in tensor.shape:
            continue
        matrix = as_float32(tensor, name, path)
        same = next((names for other, names in groups if torch.equal(other, matrix)), None)
        if same is None:
            groups.append((matrix, [name]))
        else:
            same.append(name)
    return [
        Candidate(tuple(names), matrix, _bias_of(names, matrix, rest, alone=len(groups) == 1))
        for matrix, names in groups
    ]


def _bias_of(names: Sequence[str], matrix: Tensor, rest: Mapping[str, Tensor], alone: bool) -> str | None:
    """Return the bias named like one of these weights; if there is only one matrix, the only bias."""
    biases = [name for name, tensor in rest.items() if tensor.shape == matrix.shape[:1] and "bias" in name]
    beside = [name.removesuffix("weight") + "bias" for name in names if name.endswith("weight")]
    return next((name for name in biases if name in beside or (alone and len(biases) == 1)), None)


def _chosen(
    candidates: Sequence[Candidate], input_size: int, hidden_size: int, path: Path
) -> tuple[Candidate, Candidate]:
    """Return the embedding and the output layer; the same one twice where they are tied."""
    pairs = [
        (embedding, output)
        for embedding in candidates
        for output in candidates
        if embedding is not output
        and (embedding.width, output.width) == (input_size, hidden_size)
        and embedding.rows == output.rows
    ]
    for fits in (lambda pair: True, _bias_tells, _names_tell):
        fitting = [pair for pair in pairs if fits(pair)]
        if len(fitting) == 1:
            return fitting[0]
    tied = [candidate for candidate in candidates if _may_be_tied(candidate, input_size, hidden_size)]
    if not pairs and len(tied) == 1:
        return tied[0], tied[0]
    raise UserError(_unclear(candidates, bool(pairs or tied), input_size, hidden_size, path))


def _bias_tells(pair: tuple[Candidate, Candidate]) -> bool:
    embedding, output = pair
    return embedding.bias is None and output.bias is not None


def _names_tell(pair: tuple[Candidate, Candidate]) -> bool:
    embedding, output = pair
    return embedding.is_called(EMBEDDINGS) and output.is_called(OUTPUTS)


def _may_be_tied(candidate: Candidate, input_size: int, hidden_size: int) -> bool:
    """A matrix may be both if it fits both, and a bias or a second name indicates the output layer."""
    fits = candidate.width == input_size == hidden_size
    return fits and (candidate.bias is not None or (len(candidate.names) > 1 and candidate.is_called(OUTPUTS)))


def _unclear(candidates: Sequence[Candidate], several: bool, input_size: int, hidden_size: int, path: Path) -> str:
    shown = "; ".join(f"{' = '.join(c.names[:4]):.200} {shown_shape(c.matrix)}" for c in candidates[:8]) or "none"
    wanted = f"an embedding (V, {input_size}) and an output layer (V, {hidden_size}) of the same V"
    if several:
        return f"{path} is ambiguous: more than one of its matrices could be {wanted}: {shown}; name them after that."
    return f"{path} does not fit: expected are {wanted}; the matrices found are: {shown}."

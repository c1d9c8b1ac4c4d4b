"""A model from elsewhere in our layout of weights: what every layout is turned into.

    x_t = embedding[token_t]     h_t = LSTM layers(x_t)     logits_t = h_t output_weight^T + output_bias

V: vocabulary, E: embedding size, I: input size of a layer, H: its hidden size. Gates in columns, i f g o.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.config import ModelSettings, settings_from_values
from unrolled.errors import UserError
from unrolled.kernels import GATES

MOST_ROWS = 2_000_000  # of an embedding; the tokenizer takes a hundred times the room of a short row
MOST_PADDING = 8  # numbers in the padded layers for each one in the checkpoint's
FREE_NUMBERS = 2**24  # that may be padding in any case


@dataclass(frozen=True)
class ForeignLayer:
    """One layer: w_ih (I, 4H), w_hh (H, 4H), bias (4H,); `name` is what the checkpoint calls it."""

    name: str
    w_ih: Tensor
    w_hh: Tensor
    bias: Tensor

    @property
    def input_size(self) -> int:
        return self.w_ih.shape[0]

    @property
    def hidden_size(self) -> int:
        return self.w_hh.shape[0]


@dataclass(frozen=True)
class EmbeddingAndOutput:
    """The parts around the layers: embedding (V, E), weight (V, H) and bias (V,) of the output layer.

    `tied` says that the output layer's weight is the embedding.
    """

    embedding: Tensor
    output_weight: Tensor
    output_bias: Tensor
    tied: bool = False


@dataclass(frozen=True)
class ForeignModel:
    """A whole model; `layout` names the one that matched."""

    layout: str
    layers: Sequence[ForeignLayer]
    embedding_and_output: EmbeddingAndOutput

    @property
    def vocabulary_size(self) -> int:
        return self.embedding_and_output.embedding.shape[0]

    @property
    def hidden_size(self) -> int:
        """That of the largest layer."""
        return max(layer.hidden_size for layer in self.layers)

    def settings(self) -> ModelSettings:
        """Return the architecture.

        Raises:
            UserError: it is larger than any that unrolled makes.
        """
        values = {
            "embedding_size": self.embedding_and_output.embedding.shape[1],
            "hidden_size": self.hidden_size,
            "layers": len(self.layers),
            "tying": "tied" if self._stays_tied else "separate",
        }
        return settings_from_values({"model": values}).model

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by our names.

        All of our layers have one hidden size. A smaller layer gets units whose weights and biases are zero: such a
        unit's c stays 0.5 * 0 + 0.5 * tanh(0) = 0 and its h = 0.5 * tanh(0) = 0, so no output changes, and no gradient
        ever reaches them.
        """
        H = self.hidden_size
        weights = {
            "embedding": self.embedding_and_output.embedding,
            "output_bias": self.embedding_and_output.output_bias,
        }
        if not self._stays_tied:
            weights["output_weight"] = _widened(self.embedding_and_output.output_weight, columns=H)
        for k, layer in enumerate(self.layers):
            inputs = layer.input_size if k == 0 else H
            weights[f"layers.{k}.w_ih"] = _widened_gates(layer.w_ih, inputs, H)
            weights[f"layers.{k}.w_hh"] = _widened_gates(layer.w_hh, H, H)
            weights[f"layers.{k}.bias"] = _widened_gates(layer.bias[None], 1, H)[0]
        return weights

    @property
    def _stays_tied(self) -> bool:
        return self.embedding_and_output.tied and self.embedding_and_output.embedding.shape[1] == self.hidden_size


def check_chain(layers: Sequence[ForeignLayer], path: Path) -> None:
    """Check that each layer reads what the one below it gives.

    Raises:
        UserError: two neighbours do not fit.
    """
    for below, above in itertools.pairwise(layers):
        if above.input_size != below.hidden_size:
            raise UserError(
                f"{path}: the layer {above.name} reads {above.input_size} numbers and the one below it, {below.name}, "
                f"gives {below.hidden_size}; is a layer missing?"
            )


def check_size(model: ForeignModel, path: Path) -> None:
    """Check that a model does not become far larger than its file.

    Raises:
        UserError: it would, with zeros or with words.
    """
    if model.vocabulary_size > MOST_ROWS:
        raise UserError(
            f"{path} has a vocabulary of {model.vocabulary_size:,} entries; the most here is {MOST_ROWS:,}."
        )
    H = model.hidden_size
    numbers = sum(layer.w_ih.numel() + layer.w_hh.numel() for layer in model.layers)
    padded = sum(GATES * H * (H + (H if k else layer.input_size)) for k, layer in enumerate(model.layers))
    if padded > MOST_PADDING * numbers + FREE_NUMBERS:
        raise UserError(
            f"{path} has layers of very different sizes: padded with zeros to the largest, their {numbers:,} numbers "
            f"would become {padded:,}; unrolled cannot import it."
        )


def _widened(matrix: Tensor, columns: int) -> Tensor:
    """Add columns of zeros to a matrix."""
    return functional.pad(matrix, (0, columns - matrix.shape[1])).contiguous()


def _widened_gates(matrix: Tensor, rows: int, hidden_size: int) -> Tensor:
    """Add rows of zeros, and columns of zeros to each gate: (I, 4H) -> (rows, 4 * hidden_size)."""
    gates = [_widened(gate, hidden_size) for gate in torch.chunk(matrix, GATES, dim=1)]
    return functional.pad(torch.cat(gates, dim=1), (0, 0, 0, rows - matrix.shape[0])).contiguous()

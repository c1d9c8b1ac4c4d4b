"""The output layer: from the top layer's hidden states to the logits of the next token, and their loss.

    separate   logits = h W^T + b          W (V, H), separate weights
    tied       logits = h E^T + b          E (V, H), the embedding    (Press and Wolf 2017, https://arxiv.org/abs/1608.05859)

Another kind of output layer is a subclass of `MatrixOutput` with its own `matrix`, or its own `logits`, and a line in
`make_output_layer`. Both are given the embedding, so a layer that shares its weights does not store them twice.
N: tokens, V: vocabulary, H: hidden size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.config import ModelSettings
from unrolled.kernels import Kernel
from unrolled.kernels.softmax import IGNORED
from unrolled.nn.embedding import TokenEmbedding

TIED_BOUND = 0.1


class MatrixOutput(nn.Module):
    """An output layer that consists of a matrix and a bias."""

    bias: Tensor  # (V,)

    def matrix(self, embedding: Tensor) -> Tensor:
        """Return the weights, (V, H), given the model's embedding, (V, E)."""
        raise NotImplementedError

    def logits(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Return the logits (..., V) of hidden states (..., H)."""
        return functional.linear(h, self.matrix(embedding), self.bias)

    def summed_cross_entropy(
        self, h: Tensor, targets: Tensor, embedding: Tensor, kernel: Kernel, scale: float = 1.0
    ) -> Tensor:
        """Return the summed cross-entropy in nats, a scalar.

        The logits of all tokens are never in memory at once, unless a subclass or this object overrides `logits`: then
        the loss is that of its logits.

        Args:
            h: hidden states, (N, H).
            targets: tokens (N,), or `unrolled.kernels.softmax.IGNORED`.
            embedding: the model's embedding, (V, E).
            kernel: computes output layer, softmax and loss in one.
            scale: factor of the sum.
        """
        if is_overridden(self, MatrixOutput, "logits"):
            return cross_entropy_of_logits(self.logits(h, embedding), targets, scale)
        return kernel.summed_cross_entropy(h, self.matrix(embedding), self.bias, targets, scale)


class SeparateOutput(MatrixOutput):
    """An output layer with separate weights.

    Args:
        vocabulary_size: number of tokens, V.
        hidden_size: numbers in a hidden state, H.
        generator: source of the initial weights.
    """

    def __init__(self, vocabulary_size: int, hidden_size: int, generator: torch.Generator | None = None):
        super().__init__()
        bound = 1 / math.sqrt(hidden_size)
        self.weight = nn.Parameter(
            torch.empty(vocabulary_size, hidden_size).uniform_(-bound, bound, generator=generator)
        )
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def matrix(self, embedding: Tensor) -> Tensor:
        """Return the layer's own weights, (V, H)."""
        return self.weight


class TiedOutput(MatrixOutput):
    """An output layer whose weights are the embedding.

    Args:
        embedding: of the model; as output weights, its rows are initialized small.
        generator: source of the embedding's initial weights.
    """

    def __init__(self, embedding: TokenEmbedding, generator: torch.Generator | None = None):
        super().__init__()
        nn.init.uniform_(embedding.weight, -TIED_BOUND, TIED_BOUND, generator=generator)
        self.bias = nn.Parameter(torch.zeros(len(embedding.weight)))

    def matrix(self, embedding: Tensor) -> Tensor:
        """Return the embedding."""
        return embedding


def cross_entropy_of_logits(logits: Tensor, targets: Tensor, scale: float = 1.0) -> Tensor:
    """Return the summed cross-entropy in nats, times `scale`, of logits (N, V) and targets (N,), or `IGNORED`."""
    return scale * functional.cross_entropy(logits, targets, reduction="sum", ignore_index=IGNORED)


def is_overridden(module: nn.Module, base: type[nn.Module], method: str) -> bool:
    """Return whether a subclass of `base`, or the object itself, replaces a method of `base`."""
    return getattr(getattr(module, method), "__func__", None) is not getattr(base, method)


def make_output_layer(
    settings: ModelSettings, embedding: TokenEmbedding, generator: torch.Generator | None = None
) -> SeparateOutput | TiedOutput:
    """Return a new output layer of the configured kind, for a model with this embedding."""
    if settings.tying == "tied":
        return TiedOutput(embedding, generator)
    return SeparateOutput(len(embedding.weight), settings.hidden_size, generator)

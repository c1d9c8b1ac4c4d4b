"""The embedding: a row of numbers for each token, handed to the first layer as whatever costs it least.

    x_t = weight[token_t]

T: steps, B: rows of the batch, V: vocabulary, E: embedding size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.kernels import KernelInput
from unrolled.nn.dropout import NO_DROPOUT, Dropout
from unrolled.nn.layer import LSTMLayer

# With this many times as many tokens in the batch as in the vocabulary, nearly all of them occur.
DEDUPLICATE_BELOW = 16


class TokenEmbedding(nn.Module):
    """The embedding of a vocabulary.

    Args:
        vocabulary_size: number of tokens, V.
        size: numbers in a token's embedding, E.
        generator: source of the initial weights.
    """

    def __init__(self, vocabulary_size: int, size: int, generator: torch.Generator | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary_size, size).normal_(generator=generator))

    def forward(
        self,
        ids: Tensor,
        layer: LSTMLayer,
        dropout: Dropout = NO_DROPOUT,
        generator: torch.Generator | None = None,
    ) -> KernelInput:
        """Return what the first layer reads for tokens (T, B).

        A mask of embedded tokens differs wherever a token occurs, so each occurrence is a product of its own. Without
        one a token is the same everywhere: then there is a table with one product for each row.
        """
        if dropout.is_active(generator):
            return layer.dense_input(dropout.apply(functional.embedding(ids, self.weight), generator))
        return layer.token_input(*self._rows(ids))

    def _rows(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows of the embedding, (at most V, E), and where each token (T, B) stands among them.

        Text repeats its words: embedding the distinct tokens of a batch is often half of the product.
        """
        if len(self.weight) * DEDUPLICATE_BELOW <= ids.numel():
            return self.weight, ids
        distinct, places = ids.unique(return_inverse=True)
        return functional.embedding(distinct, self.weight), places

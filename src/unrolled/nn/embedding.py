"""The embedding: a vector for each token, passed to the first layer in the form that is cheapest for it.

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

# In a batch with this many times as many tokens as the vocabulary, nearly all of the vocabulary occurs.
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
        """Return the first layer's input for tokens (T, B).

        A dropout mask differs between the occurrences of a token, so each occurrence needs its own product. Without a
        mask all occurrences are equal, and a table needs one product per distinct token.
        """
        if dropout.is_active(generator):
            return layer.dense_input(dropout.apply(functional.embedding(ids, self.weight), generator))
        return layer.token_input(*self._rows(ids))

    def _rows(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows of the embedding, (at most V, E), and the index of each token (T, B) among them.

        Tokens repeat: embedding only the distinct tokens of a batch often halves the product.
        """
        if len(self.weight) * DEDUPLICATE_BELOW <= ids.numel():
            return self.weight, ids
        distinct, places = ids.unique(return_inverse=True)
        return functional.embedding(distinct, self.weight), places

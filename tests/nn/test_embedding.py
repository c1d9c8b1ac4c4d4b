"""What the first layer reads: a table of distinct tokens, or each token by itself where some numbers are dropped."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.kernels import DenseInput, TokenInput
from unrolled.nn import LSTMLayer
from unrolled.nn.dropout import Dropout
from unrolled.nn.embedding import DEDUPLICATE_BELOW, TokenEmbedding

T, B, E, H = 8, 3, 5, 6
SMALL, LARGE = 11, 29  # vocabularies below and above the 24 tokens of a batch


def embedding_and_layer(vocabulary: int) -> tuple[TokenEmbedding, LSTMLayer]:
    generator = torch.Generator().manual_seed(vocabulary)
    return TokenEmbedding(vocabulary, E, generator).double(), LSTMLayer(E, H, generator).double()


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_ids(vocabulary: int) -> torch.Tensor:
    return torch.randint(vocabulary, (T, B), generator=generator())


@pytest.mark.parametrize("vocabulary", [SMALL, LARGE])
def test_each_distinct_token_of_a_batch_is_multiplied_once(vocabulary):
    (embedding, layer), ids = embedding_and_layer(vocabulary), random_ids(vocabulary)
    ids[ids == 7] = 3  # so that there is one that is missing in the middle
    inputs = embedding(ids, layer)
    table, looked_up = inputs.pre_activation_table().table, inputs.ids
    assert looked_up.shape == (T, B)
    assert len(table) == len(set(ids.flatten().tolist())) < vocabulary
    expected = embedding.weight[ids] @ layer.w_ih + layer.bias
    torch.testing.assert_close(table[looked_up], expected, rtol=0, atol=1e-12)


def test_a_vocabulary_that_is_small_beside_the_batch_is_multiplied_whole():
    for vocabulary, rows in ((SMALL, SMALL), (SMALL + 1, 2)):
        embedding, layer = embedding_and_layer(vocabulary)
        ids = torch.arange(2).repeat(DEDUPLICATE_BELOW * SMALL // 2).view(DEDUPLICATE_BELOW, SMALL)
        assert len(embedding(ids, layer).embedding) == rows


def test_dropout_of_the_input_differs_wherever_a_token_occurs():
    embedding, layer = embedding_and_layer(SMALL)
    inputs = embedding(torch.zeros(T, B, dtype=torch.int64), layer, Dropout(0.5), generator())
    assert inputs.x.shape == (T, B, E)
    assert len(inputs.x.flatten(0, 1).unique(dim=0)) > 2


@pytest.mark.parametrize("kind", ["elementwise", "locked"])
@given(rate=st.floats(0.01, 0.97), seed=st.integers(0, 2**31))
def test_embeddings_are_kept_at_the_rate_and_scaled_where_a_token_stands(kind, rate, seed):
    embedding, layer = embedding_and_layer(SMALL)
    ids = torch.full((40, 50), 3)
    inputs = embedding(ids, layer, Dropout(rate, kind), generator(seed))
    assert isinstance(inputs, DenseInput)
    kept = inputs.x != 0
    torch.testing.assert_close(inputs.x[kept], (embedding.weight[3] / (1 - rate)).expand(40, 50, E)[kept])
    masks = kept if kind == "elementwise" else kept[:1]
    deviations = math.sqrt(rate * (1 - rate) / masks.numel())
    assert masks.double().mean().item() == pytest.approx(1 - rate, abs=7 * deviations + 1 / masks.numel())
    if kind == "locked":
        assert torch.equal(kept, masks.expand_as(kept))


@pytest.mark.parametrize(("dropout", "draws"), [(Dropout(0.5), None), (Dropout(0.0), generator())])
def test_without_a_generator_or_a_rate_an_embedding_is_whole(dropout, draws):
    embedding, layer = embedding_and_layer(SMALL)
    inputs = embedding(random_ids(SMALL), layer, dropout, draws)
    assert isinstance(inputs, TokenInput)
    assert torch.equal(inputs.embedding[inputs.ids], embedding.weight[random_ids(SMALL)])

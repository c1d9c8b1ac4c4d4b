"""The likelihood of a text against a loop over its tokens, one at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from unrolled.config import ModelSettings, RegularizationSettings
from unrolled.evaluation import Likelihood, evaluate, likelihood, surprisals_nats
from unrolled.nn import LanguageModel
from unrolled.units import nats_from_bits

V, E, H, START = 13, 4, 6, 5


def random_model(layers: int = 2, dropout: float = 0.0) -> LanguageModel:
    settings = ModelSettings(embedding_size=E, hidden_size=H, layers=layers)
    drops = RegularizationSettings(dropout=dropout)
    model = LanguageModel(settings, V, torch.Generator().manual_seed(1), regularization=drops).double()
    with torch.no_grad():
        for parameter in model.parameters():  # far from uniform predictions
            parameter.mul_(2).add_(0.1)
    return model


def random_ids(length: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, V, length).astype(np.uint8)


def surprisals_one_by_one(model: LanguageModel, ids: np.ndarray) -> list[float]:
    """Feed torch's own cells one token after the other."""
    cells = []
    for layer in model.layers:
        cell = nn.LSTMCell(*layer.w_ih.shape[:1], H).double()
        weights = {"weight_ih": layer.w_ih.t(), "weight_hh": layer.w_hh.t(), "bias_ih": layer.bias}
        cell.load_state_dict({**weights, "bias_hh": torch.zeros(4 * H)})
        cells.append(cell)
    states = [(torch.zeros(1, H).double(), torch.zeros(1, H).double()) for _ in cells]
    before, surprisals = START, []
    for token in ids.tolist():
        x = model.embedding[before].unsqueeze(0)
        for k, cell in enumerate(cells):
            states[k] = cell(x, states[k])
            x = states[k][0]
        scores = (x @ model.output_matrix.t() + model.output_bias)[0].tolist()
        surprisals.append(math.log(math.fsum(math.exp(score) for score in scores)) - scores[token])
        before = token
    return surprisals


def all_surprisals(model: LanguageModel, ids: np.ndarray) -> np.ndarray:
    return np.concatenate(list(surprisals_nats(model, ids, START)))


@pytest.mark.parametrize("length", [1, 2, 50])
def test_surprisals_equal_a_loop_over_single_tokens(length):
    model, ids = random_model(), random_ids(length)
    np.testing.assert_allclose(all_surprisals(model, ids), surprisals_one_by_one(model, ids), rtol=0, atol=1e-10)


def test_the_first_token_is_predicted_from_the_start_token():
    model = random_model()
    logits, _ = model(torch.tensor([[START]]))
    expected = -torch.log_softmax(logits[0, 0], dim=-1)
    for token in range(V):
        (surprisal,) = all_surprisals(model, np.array([token]))
        assert surprisal == pytest.approx(expected[token].item(), abs=1e-12)


@pytest.mark.parametrize("length", [1, 300, likelihood.CHUNK_TOKENS + 1, 3000])
def test_scores_summed_equal_the_evaluation_to_the_last_bit(length):
    model, ids = random_model().float(), random_ids(length)
    scores = all_surprisals(model, ids)
    assert scores.dtype == np.float64
    assert math.fsum(scores) == evaluate(model, ids, START, length, length).total_nats


@pytest.mark.parametrize("chunk", [1, 7, 12, 13, 14, 100, 1001])
def test_borders_of_chunks_do_not_matter(monkeypatch, chunk):
    model, ids = random_model(), random_ids(100)
    whole = all_surprisals(model, ids)
    monkeypatch.setattr(likelihood, "CHUNK_TOKENS", chunk)
    np.testing.assert_allclose(all_surprisals(model, ids), whole, rtol=0, atol=1e-10)


def test_evaluating_uses_no_dropout_and_no_gradients():
    model, ids = random_model(dropout=0.9).train(), random_ids(50)
    assert np.array_equal(all_surprisals(model, ids), all_surprisals(random_model(), ids))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


def test_a_scoring_left_in_the_middle_leaves_gradients_on():
    pieces = surprisals_nats(random_model(), random_ids(50), START)
    next(pieces)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [np.uint8, np.dtype("<u2"), np.dtype("<u4"), np.int64])
def test_ids_of_any_integer_type_are_read_and_never_written(dtype):
    model, ids = random_model(), random_ids(50).astype(dtype)
    ids.flags.writeable = False
    np.testing.assert_array_equal(all_surprisals(model, ids), all_surprisals(model, random_ids(50)))


def test_ids_are_read_from_a_file_too(tmp_path):
    model, path = random_model(), tmp_path / "ids"
    random_ids(50).tofile(path)
    ids = np.memmap(path, dtype=np.uint8, mode="r")
    np.testing.assert_array_equal(all_surprisals(model, ids), all_surprisals(model, random_ids(50)))


def test_an_empty_text_has_no_loss_and_no_means():
    result = evaluate(random_model(), random_ids(0), START, 0, 0)
    assert result.total_nats == 0
    assert result.tokens == 0
    figures = result.to_json()
    assert all(math.isnan(figures[name]) for name in ("nats_per_token", "perplexity", "bits_per_char", "bits_per_byte"))


def test_each_figure_divides_by_its_own_unit():
    figures = Likelihood(nats_from_bits(600), 100, 200, 300, 4).to_json()
    assert figures["nats_per_token"] == pytest.approx(nats_from_bits(6))
    assert figures["perplexity"] == pytest.approx(2**6)
    assert figures["bits_per_char"] == pytest.approx(3)
    assert figures["bits_per_byte"] == pytest.approx(2)
    assert (figures["tokens"], figures["unknown_tokens"]) == (100, 4)


def test_the_counts_of_the_text_are_kept():
    result = evaluate(random_model(), random_ids(50), START, characters=40, utf8_bytes=60, unknown_tokens=3)
    assert (result.tokens, result.characters, result.utf8_bytes, result.unknown_tokens) == (50, 40, 60, 3)

"""The quick validation loss against the exact pass, and against models of which every token's loss is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unrolled.config import ModelSettings, RegularizationSettings
from unrolled.evaluation import evaluate, validation, validation_loss_nats
from unrolled.nn import LanguageModel

V, START, ALL = 11, 3, 10**9
LENGTHS = [1, 2, 255, 256, 257, 511, 512, 513, 1000, 16_383, 16_385, 40_001]


def random_model(hidden_size: int = 5, dropout: float = 0.0) -> LanguageModel:
    settings = ModelSettings(embedding_size=4, hidden_size=hidden_size)
    drops = RegularizationSettings(dropout=dropout)
    return LanguageModel(settings, V, torch.Generator().manual_seed(1), regularization=drops).double()


def model_of_the_last_token() -> LanguageModel:
    """Return a model that knows only the token it reads: a pair of neighbours has one loss, wherever it stands."""
    model = random_model()
    with torch.no_grad():
        model.layers[0].w_hh.zero_()
        model.layers[0].bias[5:10] = -1e9  # the forget gate stays shut
        model.output_matrix.mul_(20)
    return model


def losses_of_pairs(model: LanguageModel) -> np.ndarray:
    logits, _ = model(torch.arange(V).unsqueeze(1))  # (V, 1, V)
    return -torch.log_softmax(logits[:, 0], dim=-1).detach().numpy()


def random_ids(length: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, V, length).astype(np.uint8)


@pytest.mark.parametrize("length", LENGTHS)
def test_every_token_counts_exactly_once_after_the_token_before_it(length):
    model, ids = model_of_the_last_token(), random_ids(length)
    total, count = validation_loss_nats(model, ids, START, ALL)
    pairs = losses_of_pairs(model)
    expected = math.fsum(pairs[[START, *ids[:-1]], ids])
    assert count == length
    assert total == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("length", [1, 2, 255, 257, 511, 513, 1000, 16_385])
def test_it_equals_the_exact_pass_to_a_thousandth(length):
    model, ids = random_model(), random_ids(length)
    exact = evaluate(model, ids, START, length, length)
    total, count = validation_loss_nats(model, ids, START, ALL)
    assert total / count == pytest.approx(exact.nats_per_token, abs=1e-3)
    if length < 4 * validation.WARM_UP_TOKENS:  # one segment
        assert total == pytest.approx(exact.total_nats, rel=1e-12)


def test_each_segment_is_read_after_a_warm_up_on_the_text_before_it():
    model, ids = random_model(), random_ids(1000)
    with torch.no_grad():
        model.layers[0].bias[5:10] = 3.0  # a memory long enough for a wrong state to show
    read = torch.tensor([START, *ids])
    expected, segment = 0.0, 334  # 1000 tokens make 3 segments
    for start in range(0, 1000, segment):
        stop, warm_from = min(start + segment, 1000), max(start - validation.WARM_UP_TOKENS, 0)
        state = model(read[None, warm_from:start])[1] if start else None
        inputs, targets = read[None, start:stop], read[None, start + 1 : stop + 1]
        expected += model.loss_nats(inputs, targets, state)[0].item()
    assert validation_loss_nats(model, ids, START, ALL)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("segments", [2, 7, 64])
@pytest.mark.parametrize("chunk", [1, 17, 256])
def test_neither_segments_nor_chunks_change_a_loss_without_memory(monkeypatch, segments, chunk):
    model, ids = model_of_the_last_token(), random_ids(4501)
    monkeypatch.setattr(validation, "SEGMENTS", segments)
    monkeypatch.setattr(validation, "CHUNK_TOKENS", chunk)
    monkeypatch.setattr(validation, "WARM_UP_TOKENS", 4)
    expected = math.fsum(losses_of_pairs(model)[[START, *ids[:-1]], ids])
    assert validation_loss_nats(model, ids, START, ALL) == (pytest.approx(expected, rel=1e-12), 4501)


def test_no_more_than_the_first_tokens_asked_for_are_read():
    model, ids = random_model(), random_ids(3000)
    assert validation_loss_nats(model, ids, START, 1234) == validation_loss_nats(model, ids[:1234], START, ALL)


def test_dropout_and_gradients_are_off():
    ids = random_ids(1000)
    model = random_model(dropout=0.9).train()
    assert validation_loss_nats(model, ids, START, ALL) == validation_loss_nats(random_model(), ids, START, ALL)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_read_only_ids_are_read_without_a_warning():
    ids = random_ids(600).astype(np.int64)
    ids.flags.writeable = False
    model = random_model()
    assert validation_loss_nats(model, ids, START, ALL) == validation_loss_nats(model, random_ids(600), START, ALL)


def test_an_empty_text_has_no_loss():
    assert validation_loss_nats(random_model(), random_ids(0), START, ALL) == (0.0, 0)


def test_what_is_called_before_each_part_changes_nothing_and_can_end_the_evaluation(monkeypatch):
    model, ids = random_model(), random_ids(1000)  # three segments of 334 tokens
    monkeypatch.setattr(validation, "CHUNK_TOKENS", 100)
    parts = []
    whole = validation_loss_nats(model, ids, START, ALL)
    assert validation_loss_nats(model, ids, START, ALL, lambda: parts.append(len(parts))) == whole
    assert parts == [0, 1, 2, 3]

    def end():
        parts.append(len(parts))
        if len(parts) == 6:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        validation_loss_nats(model, ids, START, ALL, end)
    assert len(parts) == 6

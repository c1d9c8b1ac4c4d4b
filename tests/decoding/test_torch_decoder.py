"""The decoder that runs any model, against one long forward pass, and against the others on ordinary models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.decoding.own_part import ModelWithOwnPart, model_with_own_part
from tests.decoding.random_models import random_weights, torch_decoder
from unrolled.decoding import NumpyDecoder, TorchDecoder, TorchState
from unrolled.kernels import available_kernels

IDS = np.random.default_rng(1).integers(0, 11, (4, 30))


@pytest.fixture
def decoder():
    return TorchDecoder(model_with_own_part())


@torch.no_grad()
def test_the_logits_of_every_step_are_those_of_one_long_forward_pass():
    model = model_with_own_part()
    decoder = TorchDecoder(model)
    expected, state = model(torch.tensor(IDS))[0].numpy(), decoder.initial_state(4)
    for t in range(30):
        logits, state = decoder.step(IDS[:, t], state)
        np.testing.assert_allclose(logits, expected[:, t], atol=2e-5)
    assert logits.dtype == np.float32


@pytest.mark.parametrize("layers", [1, 3])
def test_on_an_ordinary_model_it_agrees_with_the_decoder_in_numpy(layers):
    weights = random_weights(layers=layers)
    found, expected = torch_decoder(*weights), NumpyDecoder(*weights)
    state, expected_state = found.initial_state(4), expected.initial_state(4)
    for t in range(30):
        logits, state = found.step(IDS[:, t], state)
        expected_logits, expected_state = expected.step(IDS[:, t], expected_state)
        np.testing.assert_allclose(logits, expected_logits, atol=3e-5)


def test_a_row_has_the_same_bits_in_a_batch_of_any_size(decoder):
    for rows in (1, 2, 4):
        state, alone = decoder.initial_state(rows), [decoder.initial_state(1)] * rows
        for t in range(6):
            logits, state = decoder.step(IDS[:rows, t], state)
            for row in range(rows):
                own, alone[row] = decoder.step(IDS[row : row + 1, t], alone[row])
                assert own.tobytes() == logits[row].tobytes()


def test_a_prefill_in_two_parts_equals_one_and_equals_stepping_bit_for_bit(decoder):
    whole, _ = decoder.prefill(IDS[0], decoder.initial_state(1))
    _, state = decoder.prefill(IDS[0, :13], decoder.initial_state(1))
    stepped = decoder.initial_state(1)
    for token in IDS[0]:
        logits, stepped = decoder.step(np.array([token]), stepped)
    assert whole.shape == (11,)
    assert decoder.prefill(IDS[0, 13:], state)[0].tobytes() == whole.tobytes() == logits[0].tobytes()


def test_a_prefill_of_nothing_is_a_callers_mistake(decoder):
    with pytest.raises(ValueError, match="at least one token"):
        decoder.prefill(np.array([], int), decoder.initial_state(1))


def test_a_state_is_never_written_to(decoder):
    _, state = decoder.step(np.array([1, 2, 3]), decoder.initial_state(3))
    before = [(row.h.clone(), row.c.clone()) for row in state.rows]
    first, _ = decoder.step(np.array([4, 5, 6]), state)
    second, _ = decoder.step(np.array([4, 5, 6]), state)
    assert first.tobytes() == second.tobytes()
    for row, (h, c) in zip(state.rows, before, strict=True):
        assert torch.equal(row.h, h)
        assert torch.equal(row.c, c)


def test_select_takes_rows_in_order_and_repeats_them(decoder):
    _, state = decoder.step(np.array([1, 2, 3]), decoder.initial_state(3))
    chosen = state.select([2, 0, 0])
    assert isinstance(chosen, TorchState)
    logits, _ = decoder.step(np.array([5, 5, 5]), state)
    selected, _ = decoder.step(np.array([5, 5, 5]), chosen)
    np.testing.assert_array_equal(selected, logits[[2, 0, 0]])


def test_a_models_own_kind_of_state_is_carried():
    class Counting(ModelWithOwnPart):
        """Its state also counts the tokens, and the count is added to every logit."""

        def initial_state(self, rows):
            return (super().initial_state(rows), 0)

        def forward(self, ids, state=None, generator=None):
            inner, count = self.initial_state(len(ids)) if state is None else state
            logits, inner = super().forward(ids, inner, generator)
            return logits + count + torch.arange(1, 1 + ids.shape[1])[:, None], (inner, count + ids.shape[1])

    plain = model_with_own_part()
    counting = Counting(plain.settings, 11)
    counting.load_state_dict(plain.state_dict())
    decoder, other = TorchDecoder(counting), TorchDecoder(plain)
    found, _ = decoder.prefill(IDS[0], decoder.initial_state(1))
    expected, _ = other.prefill(IDS[0], other.initial_state(1))
    np.testing.assert_allclose(found, expected + 30, atol=1e-5)


def test_the_decoder_is_a_copy_in_float32_without_dropout_and_leaves_the_model_alone():
    model = model_with_own_part().double().train()
    model.drop = torch.nn.Dropout(0.5)
    decoder = TorchDecoder(model)
    logits, _ = decoder.prefill(IDS[0], decoder.initial_state(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    assert decoder.prefill(IDS[0], decoder.initial_state(1))[0].tobytes() == logits.tobytes()
    assert logits.dtype == np.float32
    assert model.training
    assert model.embedding.dtype == torch.float64


@torch.no_grad()
@pytest.mark.parametrize("kernel", available_kernels().values(), ids=available_kernels())
def test_the_logits_are_those_of_the_models_own_kernel(kernel):
    model = model_with_own_part()
    model.kernel = kernel
    decoder, expected = TorchDecoder(model), model(torch.tensor(IDS[:1]))[0][0, -1]
    np.testing.assert_allclose(decoder.prefill(IDS[0], decoder.initial_state(1))[0], expected, atol=2e-5)
    assert model.kernel is kernel


@torch.no_grad()
def test_a_kernel_with_a_recurrence_of_its_own_is_kept():
    class Halving(type(available_kernels()["reference"])):
        def run(self, *arguments):
            h, h_last, c_last = super().run(*arguments)
            return h / 2, h_last, c_last

    model = model_with_own_part()
    model.kernel = Halving()
    decoder, expected = TorchDecoder(model), model(torch.tensor(IDS[:1]))[0][0, -1]
    np.testing.assert_allclose(decoder.prefill(IDS[0], decoder.initial_state(1))[0], expected, atol=2e-5)


def test_no_rows_give_no_logits(decoder):
    logits, state = decoder.step(np.array([], int), decoder.initial_state(0))
    assert (logits.shape, state.rows) == ((0, 11), ())


def test_ids_and_rows_that_do_not_fit_are_a_callers_mistake(decoder):
    with pytest.raises(ValueError, match="1 ids do not fit a state of 2 rows"):
        decoder.step(np.array([1]), decoder.initial_state(2))
    with pytest.raises(IndexError):
        decoder.step(np.array([11]), decoder.initial_state(1))

"""Both decoders, the one in numpy and the one in C, against torch.nn.LSTM with the same weights."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import torch

from unrolled.decoding import NativeDecoder, NumpyDecoder, NumpyState
from unrolled.native import native_library

NATIVE = pytest.param(
    NativeDecoder, marks=pytest.mark.skipif(native_library() is None, reason="installed without a C compiler")
)
pytestmark = pytest.mark.usefixtures("variant")
SHAPES = [(17, 5, 7, 1), (17, 5, 7, 3), (90, 64, 129, 2), (2, 1, 1, 1), (33, 12, 33, 1)]  # V, E, H, L


@pytest.fixture(params=[NumpyDecoder, NATIVE])
def kind(request):
    return request.param


def torch_model(vocabulary, embedding, hidden, layers):
    torch.manual_seed(vocabulary + hidden + layers)
    parts = torch.nn.Embedding(vocabulary, embedding), torch.nn.LSTM(embedding, hidden, layers, batch_first=True)
    parts = (*parts, torch.nn.Linear(hidden, vocabulary))
    with torch.no_grad():
        for part in parts:
            for parameter in part.parameters():
                parameter.mul_(1.5).add_(0.01)
    return parts


def decoder_of(kind, embedding, lstm, output):
    """torch.nn.LSTM keeps (4H, I) with the gates i f g o in its rows, and two biases."""
    layers = []
    for number in range(lstm.num_layers):
        w_ih, w_hh, b_ih, b_hh = (getattr(lstm, f"{n}_l{number}").detach() for n in LSTM_NAMES)
        layers.append((w_ih.T.numpy(), w_hh.T.numpy(), (b_ih + b_hh).numpy()))
    weights = embedding.weight, output.weight, output.bias
    table, weight, bias = (w.detach().numpy() for w in weights)
    return kind(table, layers, weight, bias)


LSTM_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def random_decoder(kind, vocabulary=19, embedding=6, hidden=33, layers=2):
    return decoder_of(kind, *torch_model(vocabulary, embedding, hidden, layers))


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_of_every_step_equal_those_of_torch(kind, shape):
    embedding, lstm, output = torch_model(*shape)
    decoder = decoder_of(kind, embedding, lstm, output)
    ids = np.random.default_rng(1).integers(0, shape[0], (3, 40))
    with torch.no_grad():
        expected = output(lstm(embedding(torch.from_numpy(ids)))[0]).numpy()  # (B, T, V)
    state = decoder.initial_state(3)
    for t in range(40):
        logits, state = decoder.step(ids[:, t], state)
        np.testing.assert_allclose(logits, expected[:, t], atol=2e-5)
    assert logits.dtype == np.float32


def test_the_state_equals_that_of_torch(kind):
    embedding, lstm, output = torch_model(17, 5, 7, 3)
    ids = np.random.default_rng(2).integers(0, 17, 25)
    decoder = decoder_of(kind, embedding, lstm, output)
    _, state = decoder.prefill(ids, decoder.initial_state(1))
    with torch.no_grad():
        h, c = lstm(embedding(torch.from_numpy(ids[None])))[1]
    np.testing.assert_allclose(state.h, h.numpy(), atol=1e-5)
    np.testing.assert_allclose(state.c, c.numpy(), atol=1e-5)


@pytest.mark.parametrize(("hidden", "layers"), [(1, 1), (33, 2), (256, 1)])
def test_a_row_has_the_same_bits_in_a_batch_of_any_size(kind, hidden, layers):
    decoder = random_decoder(kind, hidden=hidden, layers=layers)
    ids = np.random.default_rng(3).integers(0, 19, (9, 12))
    for rows in range(1, 10):
        state, alone = decoder.initial_state(rows), [decoder.initial_state(1) for _ in range(rows)]
        for t in range(12):
            logits, state = decoder.step(ids[:rows, t], state)
            for row in range(rows):
                own, alone[row] = decoder.step(ids[row : row + 1, t], alone[row])
                assert own.tobytes() == logits[row].tobytes()


def test_reading_equals_stepping_bit_for_bit(kind):
    decoder, ids = random_decoder(kind), np.random.default_rng(4).integers(0, 19, 31).astype(np.uint8)
    read, _ = decoder.prefill(ids, decoder.initial_state(1))
    state = decoder.initial_state(1)
    for token in ids:
        logits, state = decoder.step(np.array([token]), state)
    assert read.shape == (19,)
    assert read.tobytes() == logits[0].tobytes()


def test_a_text_read_in_two_parts_with_carried_state_equals_one_reading(kind):
    decoder, ids = random_decoder(kind), np.random.default_rng(5).integers(0, 19, 31)
    whole, _ = decoder.prefill(ids, decoder.initial_state(1))
    _, state = decoder.prefill(ids[:13], decoder.initial_state(1))
    assert decoder.prefill(ids[13:], state)[0].tobytes() == whole.tobytes()


def test_reading_nothing_is_a_callers_mistake(kind):
    decoder = random_decoder(kind)
    with pytest.raises(ValueError, match="at least one token"):
        decoder.prefill(np.array([], int), decoder.initial_state(1))


def test_a_state_is_never_written_to(kind):
    decoder = random_decoder(kind)
    _, state = decoder.step(np.array([1, 2, 3]), decoder.initial_state(3))
    before = state.h.tobytes(), state.c.tobytes()
    state.h.flags.writeable = state.c.flags.writeable = False
    decoder.step(np.array([4, 5, 6]), state)
    assert (state.h.tobytes(), state.c.tobytes()) == before


def test_select_takes_rows_in_order_and_repeats_them(kind):
    _, state = random_decoder(kind).step(np.array([1, 2, 3]), random_decoder(kind).initial_state(3))
    chosen = state.select([2, 0, 0])
    assert isinstance(chosen, NumpyState)
    for part, whole in ((chosen.h, state.h), (chosen.c, state.c)):
        for new, old in enumerate([2, 0, 0]):
            np.testing.assert_array_equal(part[:, new], whole[:, old])
    assert not np.shares_memory(chosen.h, state.h)


def test_weights_are_copied_or_left_alone(kind):
    weights = [
        np.random.default_rng(i).standard_normal(s) for i, s in enumerate([(5, 3), (3, 8), (2, 8), 8, (5, 2), 5])
    ]
    copies = [w.copy() for w in weights]
    embedding, w_ih, w_hh, bias, output, output_bias = weights
    decoder = kind(embedding, [(w_ih, w_hh, bias)], output, output_bias)
    decoder.step(np.array([1]), decoder.initial_state(1))
    for weight, copy in zip(weights, copies, strict=True):
        np.testing.assert_array_equal(weight, copy)


def test_threads_that_share_a_decoder_and_a_state_do_not_disturb_each_other(kind):
    decoder = random_decoder(kind)
    _, shared = decoder.prefill(np.array([3, 1, 4]), decoder.initial_state(1))
    texts = [np.random.default_rng(i).integers(0, 19, 200) for i in range(4)]
    expected = [decoder.prefill(text, shared)[0].tobytes() for text in texts]
    results = [b""] * 4

    def work(index):
        results[index] = decoder.prefill(texts[index], shared)[0].tobytes()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert results == expected


def test_shapes_that_do_not_fit_are_a_callers_mistake(kind):
    embedding, layer = np.ones((5, 3)), (np.ones((3, 8)), np.ones((2, 8)), np.ones(8))
    with pytest.raises(ValueError, match="layer 1"):
        kind(embedding, [layer, layer], np.ones((5, 2)), np.ones(5))
    with pytest.raises(ValueError, match="output layer"):
        kind(embedding, [layer], np.ones((2, 5)), np.ones(5))
    with pytest.raises(ValueError, match="at least one layer"):
        kind(embedding, [], np.ones((5, 2)), np.ones(5))

"""The decoder in C, held against the one in numpy: any sizes, rows, bfloat16, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as fuzz
from hypothesis import strategies as st

from tests.decoding.random_models import decoders
from unrolled.decoding import NativeDecoder, NumpyState, native_decoder, weights_of
from unrolled.native import DTYPES, decode, native_library
from unrolled.trained import load

pytestmark = [
    pytest.mark.skipif(native_library() is None, reason="unrolled was installed without a C compiler"),
    pytest.mark.usefixtures("variant"),
]

TALE = """There was once a weaver who lived by the river with his daughter and a grey goose. Every morning the goose
went down to the water, and every evening she came back with a silver fish. "How strange," said the weaver, "that our
goose should catch what no net in the village can hold." But the daughter only smiled, for she had seen where the goose
swam at night, and she had promised the old woman under the bridge that she would never tell a living soul of it.
"""


@fuzz(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(2, 150), st.integers(1, 70), st.integers(1, 3), st.integers(1, 130), st.integers(1, 5))
def test_any_sizes_give_the_logits_of_numpy(vocabulary, hidden, layers, rows, steps):
    slow, fast = decoders(vocabulary, hidden, layers)
    ids = np.random.default_rng(rows).integers(0, vocabulary, (steps, rows))
    state, expected_state = fast.initial_state(rows), slow.initial_state(rows)
    for step in range(steps):
        logits, state = fast.step(ids[step], state)
        expected, expected_state = slow.step(ids[step], expected_state)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(state.c, expected_state.c, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(("hidden", "layers"), [(21, 3), (131, 2), (1601, 1)])
def test_a_step_of_many_rows_is_that_of_each_row_alone_bit_for_bit(hidden, layers, precision):
    draw = np.random.default_rng(hidden)
    sizes = [6, *[hidden] * (layers - 1)]
    parts = [
        tuple(draw.standard_normal(s) / 9 for s in ((n, 4 * hidden), (hidden, 4 * hidden), 4 * hidden)) for n in sizes
    ]
    weights = draw.standard_normal((150, 6)), parts, draw.standard_normal((150, hidden)), draw.standard_normal(150)
    decoder = NativeDecoder(*weights, precision=precision)
    h, c = draw.standard_normal((2, layers, 101, hidden)).astype(np.float32)
    ids = draw.integers(0, 150, 101)
    logits, state = decoder.step(ids, NumpyState(h, c))
    for row in range(0, 101, 5):
        alone, alone_state = decoder.step(ids[[row]], NumpyState(h, c).select([row]))
        read, read_state = decoder.prefill(ids[[row]], NumpyState(h, c).select([row]))
        assert logits[row].tobytes() == alone.tobytes() == read.tobytes()
        assert state.select([row]).c.tobytes() == alone_state.c.tobytes() == read_state.c.tobytes()


def rounded(values):
    """Return values as bfloat16 holds them."""
    return torch.from_numpy(np.asarray(values, np.float32)).to(torch.bfloat16).float().numpy()


@pytest.mark.parametrize(("vocabulary", "hidden", "layers"), [(11, 21, 1), (150, 70, 3), (65, 16, 2), (9, 131, 2)])
@pytest.mark.parametrize("rows", [1, 2, 67, 101])
def test_bfloat16_is_float32_with_rounded_matrices_bit_for_bit(vocabulary, hidden, layers, rows):
    draw = np.random.default_rng(hidden)
    embedding, output, output_bias = (
        draw.standard_normal(s) for s in ((vocabulary, 6), (vocabulary, hidden), vocabulary)
    )
    sizes = [6, *[hidden] * (layers - 1)]
    parts = [
        tuple(draw.standard_normal(s) / 4 for s in ((n, 4 * hidden), (hidden, 4 * hidden), 4 * hidden)) for n in sizes
    ]
    exact = [(w if k == 0 else rounded(w), rounded(u), b) for k, (w, u, b) in enumerate(parts)]
    halved = NativeDecoder(embedding, parts, output, output_bias, precision="bfloat16")
    whole = NativeDecoder(embedding, exact, rounded(output), output_bias)
    state, expected_state = halved.initial_state(rows), whole.initial_state(rows)
    for ids in draw.integers(0, vocabulary, (5, rows)):
        logits, state = halved.step(ids, state)
        expected, expected_state = whole.step(ids, expected_state)
        assert logits.tobytes() == expected.tobytes()
    ids = draw.integers(0, vocabulary, 9)
    logits, expected = (decoder.prefill(ids, decoder.initial_state(1))[0] for decoder in (halved, whole))
    assert logits.tobytes() == expected.tobytes()


def test_bfloat16_rounds_to_nearest_even_and_keeps_what_is_not_finite():
    numbers = [1.00390625, 1.01171875, -1.0039063, 3.4e38, -math.inf, math.nan, 1e-45, 0.1]
    panel = np.resize(np.array(numbers, np.float32), native_library().decode_packed_output_size(1, 4))
    words = np.empty(len(panel) // 2, np.uint32)
    native_library().decode_halve(len(panel), decode.address(panel), decode.address(words))
    width = len(panel) // 16  # a vector
    pairs = panel.reshape(-1, 2, width)
    np.testing.assert_array_equal((words << 16).view(np.float32).reshape(-1, width), rounded(pairs[:, 0]))
    np.testing.assert_array_equal((words & 0xFFFF0000).view(np.float32).reshape(-1, width), rounded(pairs[:, 1]))


def test_an_unknown_precision_is_a_callers_mistake():
    with pytest.raises(ValueError, match="float32 or bfloat16, not 'int3'"):
        NativeDecoder(
            np.ones((5, 3)), [(np.ones((3, 8)), np.ones((2, 8)), np.ones(8))], np.ones((5, 2)), np.ones(5), "int3"
        )


def test_bfloat16_costs_less_than_a_thousandth_of_a_nat_on_the_shipped_model():
    model = load(device="cpu")
    weights = weights_of(model.network)
    ids = model.tokenizer.encode(TALE)
    nats = {p: nats_of(NativeDecoder(*weights, precision=p), ids, model.tokenizer.start_id) for p in DTYPES}
    assert nats["float32"] == pytest.approx(np.mean(model.score(TALE).nats), abs=1e-5)
    assert nats["bfloat16"] != nats["float32"]
    assert abs(nats["bfloat16"] - nats["float32"]) < 1e-3


def test_a_model_opened_with_bfloat16_writes_with_it():
    whole, halved = load(device="cpu"), load(device="cpu", decoding="bfloat16")
    given = np.array([5, 6, 7])
    logits = [model.decoder.prefill(given, model.decoder.initial_state(1))[0] for model in (whole, halved)]
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.2
    with pytest.raises(ValueError, match="decoding is float32 or bfloat16, not 'int8'"):
        load(decoding="int8")


def nats_of(decoder, ids, start_id):
    """Return the mean surprisal of a text."""
    total, state, token = 0.0, decoder.initial_state(1), start_id
    for following in ids:
        logits, state = decoder.step(np.array([token]), state)
        total += float(np.logaddexp.reduce(logits[0].astype(np.float64)) - logits[0, following])
        token = int(following)
    return total / len(ids)


def test_a_block_takes_about_the_same_time_whatever_the_model_and_the_rows():
    small, large = decoders(hidden=4)[1], decoders(hidden=700, layers=3)[1]
    assert small.block_for(1) == native_decoder.LONGEST_BLOCK
    assert 1 < large.block_for(1) < native_decoder.LONGEST_BLOCK
    assert large.block_for(1024) == 1


@pytest.mark.parametrize("wrong", [-1, 11, 2**40])
def test_an_id_outside_the_vocabulary_is_refused_before_memory_is_read(wrong):
    _, decoder = decoders()
    with pytest.raises(IndexError, match="outside the vocabulary"):
        decoder.prefill(np.array([1, wrong]), decoder.initial_state(1))
    with pytest.raises(IndexError, match="outside the vocabulary"):
        decoder.step(np.array([wrong]), decoder.initial_state(1))


def test_a_state_of_another_shape_is_refused_before_memory_is_read():
    _, decoder = decoders()
    others = (decoders(hidden=3)[1], decoders(layers=2)[1])
    for state in (decoder.initial_state(2), *(other.initial_state(1) for other in others)):
        with pytest.raises(ValueError, match="do not fit"):
            decoder.step(np.array([1]), state)


def test_no_rows_give_no_logits():
    _, decoder = decoders()
    logits, state = decoder.step(np.array([], int), decoder.initial_state(0))
    assert (logits.shape, state.h.shape) == ((0, 11), (1, 0, 21))

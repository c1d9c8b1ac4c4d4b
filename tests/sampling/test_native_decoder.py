"""Writing in C, held against its twins in Python: each choice of a token, whole texts, blocks, threads, bad input."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as fuzz
from hypothesis import strategies as st

from unrolled.config import SamplingSettings
from unrolled.errors import UserError
from unrolled.kernels.native import decoding, native_library
from unrolled.sampling import NativeDecoder, NumpyDecoder, NumpyState, from_model, generate, native_decoder, stream
from unrolled.sampling.choice import TokenChooser
from unrolled.sampling.drawing import Request
from unrolled.text.bpe import BytePairTokenizer
from unrolled.text.characters import CharacterTokenizer
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
LETTERS = CharacterTokenizer.from_characters("abcdefgh\n ")
OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repetition_penalty": 1.0}
LOUD = {"repetition_penalty": 1.3, "repetition_window": 7, "presence_penalty": 0.2, "frequency_penalty": 0.1}


def decoders(vocabulary=LETTERS.vocabulary_size, hidden=21, layers=1, seed=3, damage=0.0):
    """Return the numpy and the native decoder of one random model with lively logits."""
    draw = np.random.default_rng(seed)

    def normal(*shape):
        return draw.standard_normal(shape) / math.sqrt(shape[-1])

    sizes = [6, *[hidden] * (layers - 1)]
    parts = [(normal(size, 4 * hidden), 2 * normal(hidden, 4 * hidden), normal(4 * hidden)) for size in sizes]
    weights = 3 * normal(vocabulary, 6), parts, 9 * normal(vocabulary, hidden), normal(vocabulary) + damage
    return NumpyDecoder(*weights), NativeDecoder(*weights)


class OneStepAtATime:
    """A native decoder that is drawn from in Python.

    Its logits are those of the blocks in C to the last bit. Those of numpy differ in the last digits, by processor and
    by library, so that once in a while another token would be drawn.
    """

    def __init__(self, decoder):
        self.start, self.step, self.read = decoder.start, decoder.step, decoder.read
        self.vocabulary_size = decoder.vocabulary_size


def settings(**values):
    return SamplingSettings(**{"max_tokens": 150, "temperature": 1.0, "seed": 3, **values})


@fuzz(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(2, 150), st.integers(1, 70), st.integers(1, 3), st.integers(1, 130), st.integers(1, 5))
def test_any_sizes_give_the_logits_of_numpy(vocabulary, hidden, layers, rows, steps):
    slow, fast = decoders(vocabulary, hidden, layers)
    ids = np.random.default_rng(rows).integers(0, vocabulary, (steps, rows))
    state, expected_state = fast.start(rows), slow.start(rows)
    for step in range(steps):
        logits, state = fast.step(ids[step], state)
        expected, expected_state = slow.step(ids[step], expected_state)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(state.c, expected_state.c, rtol=0, atol=1e-5)


class OneNumber(random.Random):
    """A generator whose next number is known."""

    def __init__(self, number):
        super().__init__(0)
        self.number = number

    def random(self):
        return self.number


def random_settings(draw, banned, end):
    """Return settings in which every switch is off or anywhere in its range, the limits included."""
    ranges = {
        "temperature": (0.0, 1e-5, 0.7, 1.0, 3.0, 100.0),
        "top_k": (-1, 0, 1, 2, 5, 40, 10**7),
        "top_p": (0.0, 0.3, 0.9, 0.999999, 1.0),
        "min_p": (0.0, 0.01, 0.5, 1.0),
        "typical_p": (1e-9, 0.2, 0.9, 1.0),
        "repetition_penalty": (0.5, 1.0, 1.3, 100.0),
        "presence_penalty": (-1.0, 0.0, 0.5),
        "frequency_penalty": (-0.5, 0.0, 0.25),
        "min_tokens": (0, 3),
    }
    chosen = SamplingSettings(**{name: draw.choice(values).item() for name, values in ranges.items()})
    return chosen, Request(np.array([1]), 0, chosen, 0, banned, end)


def heard_by(chooser, draw, vocabulary):
    """Let the chooser hear a prompt and write some tokens; return the counts for C."""
    prompt, written = draw.integers(0, vocabulary, 4), draw.integers(0, vocabulary, 5)
    chooser.heard(prompt.tolist())
    for token in written.tolist():
        chooser._remember(token)
    seen = np.bincount(np.concatenate([prompt, written]), minlength=vocabulary)
    return seen.astype(np.int32), np.bincount(written, minlength=vocabulary).astype(np.int32)


def test_a_choice_in_c_is_the_choice_in_python_whatever_the_settings():
    c, draw, differing = native_library(), np.random.default_rng(1), 0
    for number in range(800):
        vocabulary = int(draw.integers(3, 90))
        # every third row has many equal logits, where the order of equals decides
        logits = draw.integers(-3, 3, vocabulary) if number % 3 == 0 else 4 * draw.standard_normal(vocabulary)
        logits = logits.astype(np.float32)
        banned, end = (0 if number % 2 else None), (vocabulary - 1 if number % 5 else None)
        chosen, request = random_settings(draw, banned, end)
        uniform = (0.0, 1 - 2**-53, draw.random())[min(number % 20, 2)]
        chooser = TokenChooser(chosen, vocabulary, OneNumber(uniform))
        seen, counts = heard_by(chooser, draw, vocabulary)
        masked = [token for token in (banned, end if number % 7 < chosen.min_tokens else None) if token is not None]
        expected = chooser.choose(logits, masked)
        scratch = np.full(c.decode_scratch_size(vocabulary), np.nan)
        arrays = [
            logits,
            seen if chosen.repetition_penalty != 1 else None,
            counts if chosen.frequency_penalty != 0 or chosen.presence_penalty != 0 else None,
        ]
        made = native_decoder._draw_settings(request)
        pointers = [decoding.address(array) for array in arrays]
        found = c.decode_choose(
            vocabulary, decoding.ctypes.byref(made), number % 7, *pointers, uniform, decoding.address(scratch)
        )
        differing += found != expected
    assert differing == 0


@pytest.mark.parametrize("mass", [0.25, 0.5, 0.625])
def test_top_p_that_ends_exactly_between_equals_keeps_as_many_as_in_python(mass):
    c, scratch, logits = native_library(), np.empty(200), np.zeros(8, np.float32)
    chosen = settings(top_p=mass)
    made = native_decoder._draw_settings(Request(np.array([1]), 0, chosen, 0, None, None))
    pointers = decoding.address(logits), None, None
    for uniform in (0.0, 0.3, 0.7, 1 - 2**-53):
        expected = TokenChooser(chosen, 8, OneNumber(uniform)).choose(logits, [])
        byref = decoding.ctypes.byref(made)
        assert c.decode_choose(8, byref, 0, *pointers, uniform, decoding.address(scratch)) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_no_token(value):
    c, scratch = native_library(), np.empty(10_000)
    made = native_decoder._draw_settings(Request(np.array([1]), 0, settings(), 0, 1, None))
    for logits in ([0, 0, value, 0], [value, 0, 0, 0], [-math.inf, 0, -math.inf, -math.inf]):
        row = np.array(logits, np.float32)
        byref = decoding.ctypes.byref(made)
        assert c.decode_choose(4, byref, 0, decoding.address(row), None, None, 0.5, decoding.address(scratch)) == -1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.0},
        {"top_k": 4, **LOUD},
        {"top_p": 0.8, "n": 3},
        {"min_p": 0.1, "repetition_penalty": 0.9, "repetition_window": 0},
        {"typical_p": 0.7, "temperature": 1.4, "n": 2, "stop": ("ab", "hg")},
        {"min_tokens": 50, "stop": ("a",), "unknown_token": "allowed", "n": 4},
        {"presence_penalty": -0.5, "n": 70, "max_tokens": 20, "stop": ("b",)},
    ],
)
@pytest.mark.parametrize("layers", [1, 3])
def test_a_seed_gives_the_same_text_drawn_in_c_and_in_python(options, layers):
    _, fast = decoders(layers=layers)
    slow = OneStepAtATime(fast)
    for prompt in ("", "ha", "abcdefgh" * 5):
        assert generate(fast, LETTERS, prompt, settings(**options)) == generate(
            slow, LETTERS, prompt, settings(**options)
        )


def test_subwords_with_an_end_token_end_alike_in_c_and_in_python():
    tokenizer = BytePairTokenizer.trained(["the hen and the hat, the hen in the hut; héé"] * 9, 270)
    _, fast = decoders(tokenizer.vocabulary_size)
    slow = OneStepAtATime(fast)
    options = settings(n=40, max_tokens=100, min_tokens=2, temperature=2.0)
    expected = generate(slow, tokenizer, "the", options)
    assert generate(fast, tokenizer, "the", options) == expected
    assert "stop" in {sample.finish_reason for sample in expected.samples}


@pytest.mark.parametrize("longest", [1, 2, 3, 1000])
def test_a_text_does_not_depend_on_the_length_of_blocks(longest, monkeypatch):
    _, decoder = decoders()
    options = settings(n=5, stop=("abc", "dd"), **LOUD)
    expected = generate(decoder, LETTERS, "ab", options)
    monkeypatch.setattr(native_decoder, "LONGEST_BLOCK", longest)
    assert generate(decoder, LETTERS, "ab", options) == expected


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_row_is_the_same_alone_in_a_batch_and_with_any_number_of_threads(threads, monkeypatch):
    _, decoder = decoders(layers=2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    together = generate(decoder, LETTERS, "ab", settings(n=67, seed=-5, top_k=5, **LOUD)).samples
    for sample in together[::13]:
        assert generate(decoder, LETTERS, "ab", settings(seed=sample.seed, top_k=5, **LOUD)).samples == (sample,)


@pytest.mark.parametrize("precision", decoding.WIDTHS)
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
        read, read_state = decoder.read(ids[[row]], NumpyState(h, c).select([row]))
        assert logits[row].tobytes() == alone.tobytes() == read.tobytes()
        assert state.select([row]).c.tobytes() == alone_state.c.tobytes() == read_state.c.tobytes()


@pytest.mark.parametrize("window", [0, 1, 5, 6, 25, 26, 400])
def test_the_window_forgets_in_c_as_in_python_at_every_size(window):
    _, fast = decoders()
    slow = OneStepAtATime(fast)
    for prompt in ("", "abcde", "abcdef"):
        options = settings(repetition_penalty=3.0, repetition_window=window, max_tokens=20)
        assert generate(fast, LETTERS, prompt, options) == generate(slow, LETTERS, prompt, options)


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
    state, expected_state = halved.start(rows), whole.start(rows)
    for ids in draw.integers(0, vocabulary, (5, rows)):
        logits, state = halved.step(ids, state)
        expected, expected_state = whole.step(ids, expected_state)
        assert logits.tobytes() == expected.tobytes()
    ids = draw.integers(0, vocabulary, 9)
    assert halved.read(ids, halved.start(1))[0].tobytes() == whole.read(ids, whole.start(1))[0].tobytes()


def test_bfloat16_rounds_to_nearest_even_and_keeps_what_is_not_finite():
    numbers = [1.00390625, 1.01171875, -1.0039063, 3.4e38, -math.inf, math.nan, 1e-45, 0.1]
    panel = np.resize(np.array(numbers, np.float32), native_library().decode_packed_output_size(1, 4))
    words = np.empty(len(panel) // 2, np.uint32)
    native_library().decode_halve(len(panel), decoding.address(panel), decoding.address(words))
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
    weights = from_model.weights_of(model.network)
    ids = model.tokenizer.encode(TALE)
    nats = {p: nats_of(NativeDecoder(*weights, precision=p), ids, model.tokenizer.start_id) for p in decoding.WIDTHS}
    assert nats["float32"] == pytest.approx(np.mean(model.score(TALE).nats), abs=1e-5)
    assert nats["bfloat16"] != nats["float32"]
    assert abs(nats["bfloat16"] - nats["float32"]) < 1e-3


def test_a_model_opened_with_bfloat16_writes_with_it():
    whole, halved = load(device="cpu"), load(device="cpu", decoding="bfloat16")
    given = np.array([5, 6, 7])
    logits = [model.decoder.read(given, model.decoder.start(1))[0] for model in (whole, halved)]
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.2
    with pytest.raises(ValueError, match="decoding is float32 or bfloat16, not 'int8'"):
        load(decoding="int8")


def nats_of(decoder, ids, start_id):
    """Return the mean surprisal of a text."""
    total, state, token = 0.0, decoder.start(1), start_id
    for following in ids:
        logits, state = decoder.step(np.array([token]), state)
        total += float(np.logaddexp.reduce(logits[0].astype(np.float64)) - logits[0, following])
        token = int(following)
    return total / len(ids)


def recorded(decoder, monkeypatch):
    """Return a list that notes the tokens of each block."""
    blocks, write = [], decoder.packed.write

    def noting(made, rows, fresh):
        blocks.append((rows.rows, rows.block))
        write(made, rows, fresh)

    monkeypatch.setattr(decoder.packed, "write", noting)
    return blocks


def test_the_first_token_comes_alone_and_no_token_beyond_the_length_is_drawn(monkeypatch):
    _, decoder = decoders()
    blocks = recorded(decoder, monkeypatch)
    deltas = list(stream(decoder, LETTERS, "ab", settings(max_tokens=100)))
    assert blocks == [(1, 1), (1, 4), (1, 16), (1, 64), (1, 15)]
    assert [delta.tokens for delta in deltas] == [1, 5, 21, 85, 100]


def test_an_abandoned_stream_writes_no_further_block(monkeypatch):
    _, decoder = decoders()
    blocks = recorded(decoder, monkeypatch)
    pieces = stream(decoder, LETTERS, "ab", settings())
    assert blocks == []
    next(pieces)
    pieces.close()
    assert blocks == [(1, 1)]


def test_a_block_takes_about_the_same_time_whatever_the_model_and_the_rows():
    small, large = decoders(hidden=4)[1], decoders(hidden=700, layers=3)[1]
    assert small.block_for(1) == native_decoder.LONGEST_BLOCK
    assert 1 < large.block_for(1) < native_decoder.LONGEST_BLOCK
    assert large.block_for(1024) == 1


def test_what_was_drawn_beyond_a_stop_is_not_counted():
    _, fast = decoders()
    text = generate(OneStepAtATime(fast), LETTERS, "a", settings(max_tokens=60)).samples[0].text
    stop = text[30:33]
    sample = generate(fast, LETTERS, "a", settings(max_tokens=60, stop=stop)).samples[0]
    assert (sample.text, sample.finish_reason) == (text[: text.index(stop)], "stop")
    assert sample.tokens == text.index(stop) + 3


@pytest.mark.parametrize("damage", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_numbers_are_an_error_for_the_user(damage):
    _, decoder = decoders(damage=damage)
    with pytest.raises(UserError, match="not finite"):
        generate(decoder, LETTERS, "a", settings())


@pytest.mark.parametrize("wrong", [-1, LETTERS.vocabulary_size, 2**40])
def test_an_id_outside_the_vocabulary_is_refused_before_memory_is_read(wrong):
    _, decoder = decoders()
    with pytest.raises(IndexError, match="outside the vocabulary"):
        decoder.read(np.array([1, wrong]), decoder.start(1))
    with pytest.raises(IndexError, match="outside the vocabulary"):
        decoder.step(np.array([wrong]), decoder.start(1))


def test_a_state_of_another_shape_is_refused_before_memory_is_read():
    _, decoder = decoders()
    for state in (decoder.start(2), decoders(hidden=3)[1].start(1), decoders(layers=2)[1].start(1)):
        with pytest.raises(ValueError, match="do not fit"):
            decoder.step(np.array([1]), state)


def test_no_rows_give_no_logits():
    _, decoder = decoders()
    logits, state = decoder.step(np.array([], int), decoder.start(0))
    assert (logits.shape, state.h.shape) == ((0, LETTERS.vocabulary_size), (1, 0, 21))


def test_without_the_library_the_decoder_is_the_one_in_numpy(monkeypatch):
    class Model:
        layers, embedding = (), torch.zeros(2, 1)
        output_matrix, output_bias = torch.zeros(2, 1), torch.zeros(2)

    made = []
    monkeypatch.setattr(from_model, "NumpyDecoder", lambda *weights: made.append("numpy"))
    monkeypatch.setattr(from_model, "NativeDecoder", lambda *weights, precision: made.append(precision))
    from_model.decoder_of(Model())
    from_model.decoder_of(Model(), "bfloat16")
    monkeypatch.setattr(from_model, "native_library", lambda: None)
    from_model.decoder_of(Model(), "bfloat16")
    assert made == ["float32", "bfloat16", "numpy"]
    monkeypatch.setattr(decoding, "native_library", lambda: None)
    with pytest.raises(RuntimeError, match="there is no native kernel here"):
        decoders()

"""Writing in C, held against its twins in Python: each choice of a token, whole texts, blocks, threads, bad input."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from tests.decoding.random_models import decoders
from unrolled.config import SamplingSettings
from unrolled.decoding import native_decoder
from unrolled.errors import UserError
from unrolled.native import decode, native_library
from unrolled.sampling import generate, native_batch, stream
from unrolled.sampling.batch import Request
from unrolled.sampling.sampler import TokenSampler
from unrolled.text.bpe import BytePairTokenizer
from unrolled.text.characters import CharacterTokenizer

pytestmark = [
    pytest.mark.skipif(native_library() is None, reason="unrolled was installed without a C compiler"),
    pytest.mark.usefixtures("variant"),
]

LETTERS = CharacterTokenizer.from_characters("abcdefgh\n ")
OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repetition_penalty": 1.0}
LOUD = {"repetition_penalty": 1.3, "repetition_window": 7, "presence_penalty": 0.2, "frequency_penalty": 0.1}


def settings(**values):
    return SamplingSettings(**{"max_tokens": 150, "temperature": 1.0, "seed": 3, **values})


class OneStepAtATime:
    """A native decoder that is sampled from in Python.

    Its logits are those of the blocks in C to the last bit. Those of numpy differ in the last digits, by processor and
    by library, so that now and then another token would be drawn.
    """

    def __init__(self, decoder):
        self.initial_state, self.step, self.prefill = decoder.initial_state, decoder.step, decoder.prefill
        self.vocabulary_size = decoder.vocabulary_size


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
        "typical_p": (0.001, 0.2, 0.9, 1.0),
        "repetition_penalty": (0.5, 1.0, 1.3, 100.0),
        "presence_penalty": (-1.0, 0.0, 0.5),
        "frequency_penalty": (-0.5, 0.0, 0.25),
        "min_tokens": (0, 3),
    }
    chosen = SamplingSettings(**{name: draw.choice(values).item() for name, values in ranges.items()})
    return chosen, Request(np.array([1]), 0, chosen, 0, banned, end)


def observed_by(sampler, draw, vocabulary):
    """Let the sampler hear a prompt and write some tokens; return the counts for C."""
    prompt, written = draw.integers(0, vocabulary, 4), draw.integers(0, vocabulary, 5)
    sampler.observe_prompt(prompt.tolist())
    for token in written.tolist():
        sampler._remember(token)
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
        sampler = TokenSampler(chosen, vocabulary, OneNumber(uniform))
        seen, counts = observed_by(sampler, draw, vocabulary)
        masked = [token for token in (banned, end if number % 7 < chosen.min_tokens else None) if token is not None]
        expected = sampler.sample(logits, masked)
        scratch = np.full(c.decode_scratch_size(vocabulary), np.nan)
        arrays = [
            logits,
            seen if chosen.repetition_penalty != 1 else None,
            counts if chosen.frequency_penalty != 0 or chosen.presence_penalty != 0 else None,
        ]
        made = native_batch._draw_settings(request)
        pointers = [decode.address(array) for array in arrays]
        found = c.decode_choose(
            vocabulary, decode.ctypes.byref(made), number % 7, *pointers, uniform, decode.address(scratch)
        )
        differing += found != expected
    assert differing == 0


@pytest.mark.parametrize("mass", [0.25, 0.5, 0.625])
def test_top_p_that_ends_exactly_between_equals_keeps_as_many_as_in_python(mass):
    c, scratch, logits = native_library(), np.empty(200), np.zeros(8, np.float32)
    chosen = settings(top_p=mass)
    made = native_batch._draw_settings(Request(np.array([1]), 0, chosen, 0, None, None))
    pointers = decode.address(logits), None, None
    for uniform in (0.0, 0.3, 0.7, 1 - 2**-53):
        expected = TokenSampler(chosen, 8, OneNumber(uniform)).sample(logits, [])
        byref = decode.ctypes.byref(made)
        assert c.decode_choose(8, byref, 0, *pointers, uniform, decode.address(scratch)) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_no_token(value):
    c, scratch = native_library(), np.empty(10_000)
    made = native_batch._draw_settings(Request(np.array([1]), 0, settings(), 0, 1, None))
    for logits in ([0, 0, value, 0], [value, 0, 0, 0], [-math.inf, 0, -math.inf, -math.inf]):
        row = np.array(logits, np.float32)
        byref = decode.ctypes.byref(made)
        assert c.decode_choose(4, byref, 0, decode.address(row), None, None, 0.5, decode.address(scratch)) == -1


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


@pytest.mark.parametrize("window", [0, 1, 5, 6, 25, 26, 400])
def test_the_window_forgets_in_c_as_in_python_at_every_size(window):
    _, fast = decoders()
    slow = OneStepAtATime(fast)
    for prompt in ("", "abcde", "abcdef"):
        options = settings(repetition_penalty=3.0, repetition_window=window, max_tokens=20)
        assert generate(fast, LETTERS, prompt, options) == generate(slow, LETTERS, prompt, options)


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
    deltas = stream(decoder, LETTERS, "ab", settings())
    assert blocks == []
    next(deltas)
    deltas.close()
    assert blocks == [(1, 1)]


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

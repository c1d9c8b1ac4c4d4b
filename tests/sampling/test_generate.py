"""Generation as a whole: samples, seeds, stops, lengths, penalties, streaming."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.decoding.own_part import model_with_own_part, texts_of
from tests.decoding.random_models import torch_decoder
from unrolled.config import SamplingSettings
from unrolled.decoding import NativeDecoder, NumpyDecoder, decoder_of
from unrolled.errors import UserError
from unrolled.native import native_library
from unrolled.sampling import Delta, generate, stream
from unrolled.text import BytePairTokenizer, WordTokenizer
from unrolled.text.characters import CharacterTokenizer

LETTERS = CharacterTokenizer.from_characters("abcdefgh\n ")
SIZE = LETTERS.vocabulary_size
NATIVE = pytest.param(
    NativeDecoder, marks=pytest.mark.skipif(native_library() is None, reason="installed without a C compiler")
)
with_every_decoder = pytest.mark.parametrize("kind", [NumpyDecoder, NATIVE, torch_decoder])


def lstm_decoder(kind, vocabulary=SIZE, scale=1.0):
    generator = np.random.default_rng(8)
    embedding, hidden = 5, 33

    def normal(*shape):
        return scale * generator.standard_normal(shape) / math.sqrt(shape[-1])

    layer = normal(embedding, 4 * hidden), normal(hidden, 4 * hidden), normal(4 * hidden)
    return kind(3 * normal(vocabulary, embedding), [layer], 9 * normal(vocabulary, hidden), normal(vocabulary))


class LastTokenState:
    def __init__(self, tokens):
        self.tokens = tokens

    def select(self, rows):
        return LastTokenState([self.tokens[row] for row in rows])


class LastTokenDecoder:
    """A model whose logits are a function of the tokens it has read, (row's tokens) -> (V,); it records each step."""

    def __init__(self, logits_of, vocabulary_size=SIZE):
        self.vocabulary_size = vocabulary_size
        self.read_ids, self.rows = [], []
        self._logits_of = logits_of

    def initial_state(self, rows):
        return LastTokenState([()] * rows)

    def step(self, ids, state):
        self.rows.append(len(ids))
        tokens = [(*row, int(token)) for row, token in zip(state.tokens, ids, strict=True)]
        return np.array([self._logits_of(row) for row in tokens], np.float32), LastTokenState(tokens)

    def prefill(self, ids, state):
        self.read_ids.append([int(token) for token in ids])
        tokens = (*state.tokens[0], *self.read_ids[-1])
        return np.array(self._logits_of(tokens), np.float32), LastTokenState([tokens])


def reciting(text, tokenizer=LETTERS):
    """A model that is almost sure to write `text` after one token of prompt."""
    ids = [int(token) for token in tokenizer.encode(text)]

    def logits_of(tokens):
        row = np.zeros(tokenizer.vocabulary_size)
        row[ids[(len(tokens) - 1) % len(ids)]] = 50.0
        return row

    return LastTokenDecoder(logits_of, tokenizer.vocabulary_size)


def constant(logits):
    return LastTokenDecoder(lambda tokens: logits)


def row(**logits):
    values = np.full(SIZE, -30.0)
    for letter, logit in logits.items():
        values[LETTERS.stoi[letter]] = logit
    return values


def settings(**values):
    return SamplingSettings(**{"max_tokens": 40, "temperature": 1.0, "seed": 3, **values})


def text_of(decoder, prompt="a", tokenizer=LETTERS, **values):
    return generate(decoder, tokenizer, prompt, settings(**values)).samples[0].text


@with_every_decoder
def test_a_seed_gives_the_same_text_and_another_seed_another(kind):
    decoder = lstm_decoder(kind)
    assert text_of(decoder, seed=5) == text_of(decoder, seed=5) != text_of(decoder, seed=6)
    assert text_of(decoder, seed=-1) != text_of(decoder, seed=1)


@with_every_decoder
def test_each_sample_of_a_batch_is_the_text_of_its_seed_alone(kind):
    decoder = lstm_decoder(kind)
    options = {
        "top_k": 7,
        "repetition_penalty": 1.2,
        "repetition_window": 5,
        "stop": ("ab", "c"),
        "presence_penalty": 0.1,
    }
    batch = generate(decoder, LETTERS, "ha", settings(n=9, seed=-4, **options))
    assert len({sample.tokens for sample in batch.samples}) > 1  # rows do leave the batch at different times
    for j, sample in enumerate(batch.samples):
        alone = generate(decoder, LETTERS, "ha", settings(seed=sample.seed, **options)).samples[0]
        assert sample.seed == -4 + j
        assert alone == sample


def test_a_finished_row_leaves_the_batch():
    decoder = constant(row(a=2.0, b=0.0))
    samples = generate(decoder, LETTERS, "h", settings(n=5, stop="b", max_tokens=60)).samples
    lengths = [sample.tokens for sample in samples]
    assert decoder.rows == [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    assert len(set(lengths)) > 1


@with_every_decoder
def test_the_seed_used_is_reported_and_reproduces(kind):
    decoder = lstm_decoder(kind)
    first = generate(decoder, LETTERS, "a", settings(seed=None, n=2))
    assert 0 <= first.seed < 2**31
    again = generate(decoder, LETTERS, "a", settings(seed=first.seed, n=2))
    assert again == first


@with_every_decoder
@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 3), st.sampled_from([(), ("a",), ("ab", "ba"), ("cab",)]))
def test_streamed_deltas_join_to_the_generated_text(kind, seed, n, stop):
    decoder, options = lstm_decoder(kind), settings(seed=seed, n=n, stop=stop, max_tokens=12)
    whole = generate(decoder, LETTERS, "b", options)
    deltas = list(stream(decoder, LETTERS, "b", options))
    for j, sample in enumerate(whole.samples):
        own = [delta for delta in deltas if delta.sample == j]
        assert "".join(delta.text for delta in own) == sample.text
        assert [delta.finish_reason for delta in own[:-1]] == [None] * (len(own) - 1)
        assert (own[-1].finish_reason, own[-1].tokens) == (sample.finish_reason, sample.tokens)


@with_every_decoder
def test_neutral_settings_leave_the_text_as_it_is(kind):
    decoder = lstm_decoder(kind)
    neutral = {
        "top_k": -1,
        "top_p": 1.0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "repetition_penalty": 1.0,
        "repetition_window": 3,
    }
    assert text_of(decoder, **neutral, presence_penalty=0.0) == text_of(decoder)
    assert text_of(decoder, top_k=SIZE) == text_of(decoder)


def test_without_filters_letters_follow_the_models_own_distribution():
    text = text_of(constant(row(a=math.log(6), b=math.log(3), c=math.log(1))), max_tokens=4000)
    shares = [text.count(letter) / 4000 for letter in "abc"]
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=0.025)  # more than three standard deviations


@with_every_decoder
def test_greedy_ignores_seed_and_filters_and_takes_the_lowest_id_of_equals(kind):
    decoder = constant(row(c=1.0, b=1.0, d=0.9))
    filtered = {"top_k": 1, "top_p": 0.0, "min_p": 1.0, "typical_p": 0.01}
    assert text_of(decoder, temperature=0, seed=1) == "b" * 40
    assert text_of(decoder, temperature=9e-6, seed=2, **filtered) == "b" * 40
    assert text_of(decoder, temperature=9e-6) == "b" * 40
    assert set(text_of(decoder, temperature=1e-5)) == {"b", "c"}  # from here on equals are drawn from
    model = lstm_decoder(kind)
    assert text_of(model, temperature=0, seed=1) == text_of(model, temperature=0, seed=2, top_p=0.3)


def test_penalties_apply_to_greedy_too():
    decoder = constant(row(b=1.0, c=0.9, d=0.5))
    assert text_of(decoder, temperature=0, repetition_penalty=1.5, repetition_window=1, max_tokens=4) == "bcbc"
    assert text_of(decoder, temperature=0, presence_penalty=0.3, max_tokens=3) == "bcb"
    assert text_of(decoder, temperature=0, frequency_penalty=0.3, max_tokens=5) == "bcbcd"


def test_entropy_rises_with_temperature():
    def entropy_nats(text):
        shares = [text.count(letter) / len(text) for letter in set(text)]
        return -sum(share * math.log(share) for share in shares)

    decoder = constant(row(a=3.0, b=2.0, c=1.0, d=0.0, e=-1.0))
    entropies = [entropy_nats(text_of(decoder, temperature=t, max_tokens=1500)) for t in (0.3, 0.7, 1.0, 2.0)]
    assert entropies == sorted(entropies)
    assert entropies[0] < entropies[-1] - 0.5


def test_a_stop_string_across_tokens_ends_the_text_before_it():
    sample = generate(reciting("hehagfa"), LETTERS, "a", settings(stop="hag")).samples[0]
    assert (sample.text, sample.finish_reason, sample.tokens) == ("he", "stop", 5)


def test_text_that_may_become_a_stop_string_waits_and_comes_out_when_it_cannot():
    deltas = list(stream(reciting("hehagfab"), LETTERS, "a", settings(stop="hb", max_tokens=8)))
    assert [delta.text for delta in deltas] == ["he", "ha", "g", "f", "a", "b"]
    assert deltas[0] == Delta(sample=0, text="he", finish_reason=None, tokens=2)


def test_held_back_text_comes_out_at_the_end():
    sample = generate(reciting("fgh"), LETTERS, "a", settings(stop="hh", max_tokens=3)).samples[0]
    assert (sample.text, sample.finish_reason) == ("fgh", "length")


def test_the_prompt_is_not_searched_for_stop_strings():
    assert text_of(reciting("bcd"), prompt="a", stop="ab", max_tokens=3) == "bcd"


def test_a_stop_wins_over_the_length_on_the_same_token():
    sample = generate(reciting("abc"), LETTERS, "a", settings(stop="c", max_tokens=3)).samples[0]
    assert (sample.text, sample.finish_reason, sample.tokens) == ("ab", "stop", 3)


@with_every_decoder
def test_length_counts_exactly(kind):
    for tokens in (1, 2, 17):
        sample = generate(lstm_decoder(kind), LETTERS, "a", settings(max_tokens=tokens)).samples[0]
        assert (len(sample.text), sample.finish_reason, sample.tokens) == (tokens, "length", tokens)


def test_no_tokens_requested_gives_empty_samples_without_reading():
    decoder = reciting("abc")
    deltas = list(stream(decoder, LETTERS, "ab", settings(max_tokens=0, n=2)))
    assert deltas == [Delta(0, "", "length", 0), Delta(1, "", "length", 0)]
    assert generate(decoder, LETTERS, "ab", settings(max_tokens=0)).samples[0].finish_reason == "length"
    assert decoder.read_ids == []


def test_a_stop_string_counts_only_after_the_least_number_of_tokens():
    cases = {0: "ab", 3: "abcab", 5: "abcab", 6: "abcabcab"}
    for least, expected in cases.items():
        assert text_of(reciting("abc"), stop="c", min_tokens=least) == expected


def test_the_unknown_token_is_never_drawn():
    logits = row(a=0.0)
    logits[LETTERS.unknown_id] = 40.0
    assert text_of(constant(logits)) == "a" * 40
    assert text_of(constant(logits), temperature=0, repetition_penalty=50.0) == "a" * 40


def test_unknown_characters_of_the_prompt_are_reported_and_read_as_unknown():
    decoder = reciting("abc")
    result = generate(decoder, LETTERS, "aZ\ud83dbZ", settings())
    assert (result.unknown, result.prompt) == (("Z", "\ud83d"), "aZ\ud83dbZ")
    unknown = LETTERS.unknown_id
    assert decoder.read_ids == [[LETTERS.stoi["a"], unknown, unknown, LETTERS.stoi["b"], unknown]]


def test_an_empty_prompt_starts_from_the_start_token_which_no_penalty_counts():
    decoder = constant(row(**{"\n": 1.0, "b": 0.9}))
    assert text_of(decoder, prompt="", temperature=0, repetition_penalty=1.5, max_tokens=1) == "\n"
    assert text_of(decoder, prompt="\n", temperature=0, repetition_penalty=1.5, max_tokens=1) == "b"
    assert decoder.read_ids == [[LETTERS.start_id], [LETTERS.start_id]]


def test_the_repetition_window_holds_the_last_tokens_of_prompt_and_output():
    decoder = constant(row(a=1.0, b=0.9, c=0.8, d=0.7))
    options = {"temperature": 0, "repetition_penalty": 10.0, "max_tokens": 4}
    assert text_of(decoder, prompt="ah", repetition_window=2, **options) == "bacb"
    assert text_of(decoder, prompt="ah", repetition_window=3, **options) == "bcad"
    assert (
        text_of(decoder, prompt="ahhhhh", repetition_window=0, max_tokens=3, temperature=0, repetition_penalty=10)
        == "bcd"
    )


def test_frequency_and_presence_count_the_output_only():
    decoder = constant(row(a=1.0, b=0.9))
    for penalty in ("frequency_penalty", "presence_penalty"):
        assert text_of(decoder, prompt="aaaa", temperature=0, max_tokens=2, **{penalty: 0.5}) == "ab"


def test_a_repeated_token_with_a_negative_logit_becomes_less_likely():
    decoder = constant(np.where(np.arange(SIZE) == LETTERS.stoi["a"], -1.0, -1.2))
    text = text_of(decoder, prompt="h", temperature=0, repetition_penalty=1.5, repetition_window=200, max_tokens=2)
    assert text[0] == "a"
    assert text[1] != "a"


@with_every_decoder
def test_arguments_are_checked_before_the_first_delta_is_requested(kind):
    with pytest.raises(ValueError, match="prompt is text"):
        stream(lstm_decoder(kind), LETTERS, None, settings())
    with pytest.raises(ValueError, match="knows 4 tokens"):
        stream(lstm_decoder(kind, vocabulary=4), LETTERS, "a", settings())


def test_weights_that_are_not_numbers_are_an_error_for_the_user():
    with pytest.raises(UserError, match="not finite"):
        text_of(constant(np.full(SIZE, math.nan)))


def test_abandoned_stream_does_no_more_work():
    decoder = reciting("abc")
    deltas = stream(decoder, LETTERS, "a", settings())
    next(deltas)
    next(deltas)
    deltas.close()
    assert len(decoder.rows) == 1


class SyllableTokenizer(CharacterTokenizer):
    """Tokens of several characters, an end token, and one that is only the first half of a character."""

    unknown_id, eos_id, vocabulary_size, start_id = None, 0, 6, 5
    TEXTS = ("<eos>", "ba", "nab", "", "é", "o")  # id 3 waits for id 4

    def __init__(self):
        super().__init__(["<unk>", *"abn"])

    def incremental(self, prompt=""):
        return HalfCharacterDecoder(self.TEXTS)


class HalfCharacterDecoder:
    def __init__(self, texts):
        self._texts, self._half = texts, False

    def push(self, token_id):
        broken = "\ufffd" if self._half and token_id != 4 else ""
        self._half = token_id == 3
        return broken + self._texts[token_id]

    def flush(self):
        return "\ufffd" if self._half else ""


def saying(*ids, sure=50.0):
    def logits_of(tokens):
        values = np.zeros(6)
        values[ids[(len(tokens) - 1) % len(ids)]] = sure
        return values

    return LastTokenDecoder(logits_of, 6)


def test_the_end_token_ends_the_text_counted_but_not_shown():
    sample = generate(saying(1, 5, 0), SyllableTokenizer(), "a", settings()).samples[0]
    assert (sample.text, sample.finish_reason, sample.tokens) == ("bao", "stop", 3)


def test_the_end_token_cannot_come_before_the_least_number_of_tokens():
    sample = generate(saying(0), SyllableTokenizer(), "a", settings(min_tokens=7, temperature=0)).samples[0]
    assert (sample.tokens, sample.finish_reason) == (8, "stop")


def test_a_stop_string_may_begin_and_end_inside_tokens():
    sample = generate(saying(1, 2, 5), SyllableTokenizer(), "a", settings(stop="an")).samples[0]
    assert (sample.text, sample.finish_reason, sample.tokens) == ("b", "stop", 2)


def test_half_a_character_is_never_streamed_and_comes_out_as_replacement_at_the_end():
    deltas = list(stream(saying(3, 4, 3), SyllableTokenizer(), "a", settings(max_tokens=3)))
    assert [(delta.text, delta.tokens) for delta in deltas] == [("é", 2), ("\ufffd", 3)]


def test_a_stop_string_that_the_flush_completes_wins_over_the_length():
    sample = generate(saying(5, 3), SyllableTokenizer(), "a", settings(max_tokens=2, stop="o\ufffd")).samples[0]
    assert (sample.text, sample.finish_reason) == ("", "stop")


def test_nothing_grows_with_the_length_of_the_text():
    class Counting(LastTokenDecoder):
        def step(self, ids, state):
            self.rows.append(len(ids))
            return np.zeros((len(ids), SIZE), np.float32), LastTokenState([(1,)] * len(ids))

    decoder = Counting(lambda tokens: np.zeros(SIZE))
    list(stream(decoder, LETTERS, "abc", settings(max_tokens=50)))
    assert decoder.read_ids == [[LETTERS.stoi[letter] for letter in "abc"]]  # the prompt once
    assert decoder.rows == [1] * 49  # then a single step for each token, none after the last


WORDS = WordTokenizer(["<unk>", "<eos>", "the", "ring", "SAM:"], tags=["SAM:"])


def names(text):
    return WORDS.encode_reversible(text).tolist()


def saying_words(text):
    """A model that writes these tokens, one after the other, from the first step on."""
    ids = names(text)

    def logits_of(tokens):
        values = np.zeros(WORDS.vocabulary_size)
        values[ids[(len(tokens) - 1) % len(ids)]] = 50.0
        return values

    return LastTokenDecoder(logits_of, WORDS.vocabulary_size)


def test_words_are_written_with_spaces_and_the_end_of_the_sentence_stops():
    sample = generate(saying_words("ring the ring <eos>"), WORDS, "the", settings()).samples[0]
    assert (sample.text, sample.finish_reason, sample.tokens) == (" ring the ring", "stop", 4)


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ("The RING!", "the ring"),
        ("the ring\n", "the ring <eos>"),
        ("SAM: xyzzy", "SAM: <unk>"),
        ("Xyzzy, plugh", "<unk> <unk>"),
        ("?!", "<eos>"),
        ("", "<eos>"),
    ],
)
def test_a_prompt_is_read_by_the_tokenizers_rule(prompt, read):
    decoder = saying_words("the")
    result = generate(decoder, WORDS, prompt, settings(max_tokens=2))
    assert decoder.read_ids == [names(read)]
    space = " " if prompt and not prompt[-1].isspace() else ""
    assert result.samples[0].text == space + "the the"
    assert result.unknown == tuple(word for word in ("xyzzy", "plugh") if word in prompt.lower())


def test_the_unknown_word_is_written_only_where_that_is_allowed():
    decoder = saying_words("<unk> ring")
    assert "<unk>" not in text_of(decoder, "the", WORDS, max_tokens=9)
    allowed = text_of(decoder, "the", WORDS, max_tokens=3, unknown_token="allowed")
    assert allowed == " <unk> ring <unk>"


def test_a_real_word_that_stands_for_what_is_unknown_may_be_written():
    bare = WordTokenizer(["ring", "the"])
    decoder = LastTokenDecoder(lambda tokens: [50.0, 0.0], 2)
    assert text_of(decoder, "xyzzy", bare, max_tokens=2) == " ring ring"


def test_stop_strings_and_deltas_see_the_spaces_between_words():
    assert text_of(saying_words("the ring"), "the", WORDS, stop="e r", max_tokens=5) == " th"
    deltas = list(stream(saying_words("the ring"), WORDS, "", settings(max_tokens=3)))
    assert [delta.text for delta in deltas] == ["the", " ring", " the"]


def test_penalties_count_the_words_of_the_prompt():
    decoder = LastTokenDecoder(lambda tokens: [0.0, -9.0, 1.0, 0.9, -9.0], WORDS.vocabulary_size)
    options = {"temperature": 0, "repetition_penalty": 2.0, "max_tokens": 1}
    assert text_of(decoder, "the", WORDS, **options) == " ring"
    assert text_of(decoder, "xyzzy", WORDS, **options) == " the"


def test_half_a_character_of_a_subword_waits_for_the_rest():
    subwords = BytePairTokenizer.trained(["the fox\n"], 257)
    fox = subwords.encode("\U0001f98a!").tolist()

    def logits_of(tokens):
        values = np.zeros(subwords.vocabulary_size)
        values[[*fox, subwords.eos_id][min(len(tokens) - 1, 5)]] = 50.0
        return values

    deltas = list(stream(LastTokenDecoder(logits_of, subwords.vocabulary_size), subwords, "x", settings(max_tokens=9)))
    assert [(delta.text, delta.tokens) for delta in deltas] == [("\U0001f98a", 4), ("!", 5), ("", 6)]
    assert deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n": 3, "seed": -2, "top_k": 4},
        {"repetition_penalty": 1.4, "repetition_window": 6},
        {"presence_penalty": 0.4, "frequency_penalty": 0.2, "temperature": 0.7, "n": 2},
    ],
)
@pytest.mark.parametrize("prompt", ["", "ab", "hag\nfed cab"])
def test_a_model_with_a_part_of_its_own_writes_what_its_forward_pass_says(prompt, options):
    model = model_with_own_part(SIZE)
    chosen = settings(**options)
    generation = generate(decoder_of(model), LETTERS, prompt, chosen)
    assert [sample.text for sample in generation.samples] == texts_of(model, LETTERS, prompt, chosen)

"""Text out of a model: n samples of one prompt, side by side, each as if it were alone.

The prompt is read once; from then on each token costs one step from the carried state, however long the text. A sample
has its own seeded generator, penalty window, stop scanner and decoder, and leaves the batch when it is finished.

What is streamed is certain: text that may still become a stop string, or half a character, waits. Joined, the pieces
are exactly the text of `generate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from unrolled.config import SamplingSettings
from unrolled.sampling.choice import TokenChooser
from unrolled.sampling.draw import generator_for, resolve_seed, sample_seed
from unrolled.text.stops import StopScanner
from unrolled.text.tokenizer import Tokenizer


class DecoderState(Protocol):
    """What a model remembers of each row: an immutable value."""

    def select(self, rows: Sequence[int]) -> DecoderState:
        """Return the state of these rows, in this order; a row may be taken several times."""


class Decoder(Protocol):
    """A language model, one token at a time. B: rows, V: vocabulary, N: tokens of a text."""

    vocabulary_size: int

    def start(self, rows: int) -> Any:
        """Return the state before any text."""

    def step(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Feed a token to each row, (B,); return the logits of the next ones, (B, V) float32, and the new state."""

    def read(self, ids: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Feed a text (N,) to a state of one row; return the logits of the next token, (V,), and the new state."""


@dataclass(frozen=True)
class Delta:
    """A piece of a sample's text. The last one of a sample has a finish reason, and may have no text."""

    sample: int
    text: str
    finish_reason: str | None  # "stop", "length", or None: there is more
    tokens: int  # drawn for this sample so far, whether or not their text is out


@dataclass(frozen=True)
class Sample:
    """A finished continuation, without the prompt and without the stop string."""

    text: str
    finish_reason: str  # "stop" or "length"
    tokens: int  # all that were drawn, those of a stop string included
    seed: int  # gives this text again as the only sample


@dataclass(frozen=True)
class Generation:
    """The answer to one prompt."""

    seed: int
    samples: tuple[Sample, ...]
    unknown: tuple[str, ...]  # characters of the prompt that the model does not know
    prompt: str


def generate(decoder: Decoder, tokenizer: Tokenizer, prompt: str, settings: SamplingSettings) -> Generation:
    """Write `settings.n` continuations of the prompt.

    An empty prompt starts from the tokenizer's start token, which is neither shown nor counted. Unknown characters of
    the prompt are read as the unknown token, and reported; the unknown token is never written.

    Raises:
        UserError: the model's numbers are not finite.
        ValueError: the prompt is not text, or decoder and tokenizer differ in vocabulary.
    """
    seed = resolve_seed(settings.seed)
    deltas = list(stream(decoder, tokenizer, prompt, settings.model_copy(update={"seed": seed})))
    samples = [_joined([d for d in deltas if d.sample == j], sample_seed(seed, j)) for j in range(settings.n)]
    return Generation(seed, tuple(samples), tuple(tokenizer.unknown_in(prompt)), prompt)


def stream(decoder: Decoder, tokenizer: Tokenizer, prompt: str, settings: SamplingSettings) -> Iterator[Delta]:
    """Write the same as `generate`, piece by piece as the text becomes certain, the samples interleaved.

    Arguments are checked at once, before the first piece is asked for; the prompt is read with the first piece. A
    caller who needs to know the seed passes one (`resolve_seed`). Closing the iterator ends the work.
    """
    if not isinstance(prompt, str):
        raise ValueError(f"a prompt is text, not {type(prompt).__name__}")
    if decoder.vocabulary_size != tokenizer.vocabulary_size:
        raise ValueError(
            f"the decoder knows {decoder.vocabulary_size} tokens, the tokenizer {tokenizer.vocabulary_size}"
        )
    return _stream(decoder, tokenizer, tokenizer.encode(prompt), settings)


def _stream(decoder: Decoder, tokenizer: Tokenizer, ids: np.ndarray, settings: SamplingSettings) -> Iterator[Delta]:
    seed = resolve_seed(settings.seed)
    writers = [_Writer(tokenizer, ids, settings, seed, sample) for sample in range(settings.n)]
    if settings.max_tokens == 0:
        yield from (Delta(writer.sample, "", "length", 0) for writer in writers)
        return
    first = ids if len(ids) else np.array([tokenizer.start_id])
    logits, state = decoder.read(first, decoder.start(1))
    logits, state = np.repeat(logits[None], settings.n, axis=0), state.select([0] * settings.n)
    while True:
        for row, writer in enumerate(writers):
            delta = writer.write(logits[row])
            if delta is not None:
                yield delta
        going = [row for row, writer in enumerate(writers) if not writer.finished]
        if not going:
            return
        if len(going) < len(writers):
            writers, state = [writers[row] for row in going], state.select(going)
        logits, state = decoder.step(np.array([writer.token for writer in writers]), state)


class _Writer:
    """One sample on its way: chooses tokens, turns them into text, and knows when to end."""

    def __init__(
        self, tokenizer: Tokenizer, prompt: np.ndarray, settings: SamplingSettings, seed: int, sample: int
    ) -> None:
        self.sample = sample
        self.token = -1  # the last one
        self.tokens = 0
        self.finished = False
        self._chooser = TokenChooser(settings, tokenizer.vocabulary_size, generator_for(seed, sample))
        self._chooser.heard(prompt.tolist())
        self._decoder = tokenizer.incremental()
        self._scanner = StopScanner(settings.stop)
        self._eos_id = tokenizer.eos_id
        self._never = [] if tokenizer.unknown_id is None else [tokenizer.unknown_id]
        self._not_yet = self._never if self._eos_id is None else [*self._never, self._eos_id]
        self._min_tokens, self._max_tokens = settings.min_tokens, settings.max_tokens

    def write(self, logits: np.ndarray) -> Delta | None:
        """Choose a token from the logits (V,); return what became certain, if anything did."""
        masked = self._not_yet if self.tokens < self._min_tokens else self._never
        self.token = self._chooser.choose(logits, masked)
        self.tokens += 1
        if self.token == self._eos_id:
            return self._end("", "stop")
        text, stopped = self._scan(self._decoder.push(self.token))
        if stopped:
            return self._last(text, "stop")
        if self.tokens == self._max_tokens:
            return self._end(text, "length")
        return Delta(self.sample, text, None, self.tokens) if text else None

    def _scan(self, text: str) -> tuple[str, bool]:
        return self._scanner.push(text, may_stop=self.tokens > self._min_tokens)

    def _end(self, text: str, reason: str) -> Delta:
        """Let out what was held back; it may hold a last stop string."""
        rest, stopped = self._scan(self._decoder.flush())
        if stopped:
            return self._last(text + rest, "stop")
        return self._last(text + rest + self._scanner.flush(), reason)

    def _last(self, text: str, reason: str) -> Delta:
        self.finished = True
        return Delta(self.sample, text, reason, self.tokens)


def _joined(deltas: list[Delta], seed: int) -> Sample:
    last = deltas[-1]
    return Sample("".join(delta.text for delta in deltas), str(last.finish_reason), last.tokens, seed)

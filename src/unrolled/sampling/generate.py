"""Text from a model: n samples of one prompt, drawn in parallel and independent of each other.

The prompt is read once; from then on each token takes one step from the carried state, regardless of the length of the
text. Each sample has its own seeded generator, penalty window, stop scanner and incremental text decoder, and leaves
the batch when it is finished.

Streamed text is final: text that may still become a stop string, and incomplete characters, are held back. The
concatenated deltas are exactly the text of `generate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unrolled.config import SamplingSettings
from unrolled.decoding import Decoder, NativeDecoder
from unrolled.sampling.batch import Request, SampleBatch, StepwiseBatch
from unrolled.sampling.native_batch import NativeBatch
from unrolled.sampling.sampler import damaged_model, resolve_seed, sample_seed
from unrolled.text.stops import StopScanner
from unrolled.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Delta:
    """An increment of a sample's text. The last one of a sample has a finish reason, and its text may be empty."""

    sample: int
    text: str
    finish_reason: str | None  # "stop", "length", or None: more follows
    tokens: int  # drawn for this sample so far, including those whose text is held back


@dataclass(frozen=True)
class Sample:
    """A finished sample, without the prompt and the stop string."""

    text: str
    finish_reason: str  # "stop" or "length"
    tokens: int  # number drawn, including those of a stop string
    seed: int  # reproduces this text as the only sample


@dataclass(frozen=True)
class Generation:
    """The samples of one prompt."""

    seed: int
    samples: tuple[Sample, ...]
    unknown: tuple[str, ...]  # characters or words of the prompt that the model does not know
    prompt: str


def generate(decoder: Decoder, tokenizer: Tokenizer, prompt: str, settings: SamplingSettings) -> Generation:
    """Generate `settings.n` samples that continue the prompt.

    A prompt without tokens starts from the tokenizer's start token, which is neither shown nor counted. Unknown
    characters or words of the prompt are read as the unknown token, and reported; the unknown token is never written
    unless `unknown_token` allows it. A sample ends at the tokenizer's end token.

    Raises:
        UserError: the model's logits are not finite.
        ValueError: the prompt is not text, or the vocabularies of decoder and tokenizer differ.
    """
    seed = resolve_seed(settings.seed)
    deltas = list(stream(decoder, tokenizer, prompt, settings.model_copy(update={"seed": seed})))
    samples = [_joined([d for d in deltas if d.sample == j], sample_seed(seed, j)) for j in range(settings.n)]
    return Generation(seed, tuple(samples), tuple(tokenizer.unknown_in(prompt)), prompt)


def stream(decoder: Decoder, tokenizer: Tokenizer, prompt: str, settings: SamplingSettings) -> Iterator[Delta]:
    """Yield the same text as `generate` in deltas as soon as they are final, with the samples interleaved.

    This call checks the arguments; the prompt is read when the first delta is requested. A caller who needs to know the
    seed passes one (`resolve_seed`). Closing the iterator stops the work.
    """
    if not isinstance(prompt, str):
        raise ValueError(f"a prompt is text, not {type(prompt).__name__}")
    if decoder.vocabulary_size != tokenizer.vocabulary_size:
        raise ValueError(
            f"the decoder knows {decoder.vocabulary_size} tokens, the tokenizer {tokenizer.vocabulary_size}"
        )
    return _stream(decoder, tokenizer, prompt, settings)


def _stream(decoder: Decoder, tokenizer: Tokenizer, prompt: str, settings: SamplingSettings) -> Iterator[Delta]:
    seed = resolve_seed(settings.seed)
    writers = [_Writer(tokenizer, prompt, settings, sample) for sample in range(settings.n)]
    if settings.max_tokens == 0:
        yield from (Delta(writer.sample, "", "length", 0) for writer in writers)
        return
    banned = _unwritten(tokenizer, settings)
    request = Request(tokenizer.encode(prompt), tokenizer.start_id, settings, seed, banned, tokenizer.eos_id)
    batch = _batch(decoder, request)
    while True:
        for writer, tokens in zip(writers, batch.next(), strict=True):
            delta = writer.write(tokens)
            if delta is not None:
                yield delta
        going = [row for row, writer in enumerate(writers) if not writer.finished]
        if not going:
            return
        if len(going) < len(writers):
            writers = [writers[row] for row in going]
            batch.keep(going)


def _batch(decoder: Decoder, request: Request) -> SampleBatch:
    """Return the fast batch if decoder and settings support it."""
    if isinstance(decoder, NativeDecoder) and NativeBatch.supports(request.settings):
        return NativeBatch(decoder, request)
    return StepwiseBatch(decoder, request)


class _Writer:
    """Turns the tokens of one sample into text, and ends it."""

    def __init__(self, tokenizer: Tokenizer, prompt: str, settings: SamplingSettings, sample: int) -> None:
        self.sample = sample
        self.tokens = 0
        self.finished = False
        self._decoder = tokenizer.incremental(prompt)
        self._scanner = StopScanner(settings.stop)
        self._eos_id = tokenizer.eos_id
        self._settings = settings

    def write(self, tokens: Sequence[int]) -> Delta | None:
        """Take the next tokens, at least one; return the text that became final, if any."""
        if self._can_only_run_out(tokens):
            self.tokens += len(tokens)
            text = "".join(map(self._decoder.push, tokens))
            if self.tokens == self._settings.max_tokens:
                return self._end(text, "length")
            return Delta(self.sample, text, None, self.tokens) if text else None
        texts: list[str] = []
        for token in tokens:
            delta = self._ended(token, texts)
            if delta is not None:
                return delta
        text = "".join(texts)
        return Delta(self.sample, text, None, self.tokens) if text else None

    def _can_only_run_out(self, tokens: Sequence[int]) -> bool:
        """Tell whether, with these tokens, only `max_tokens` can end the sample."""
        special = self._settings.stop or self._eos_id in tokens or -1 in tokens
        return not special and self.tokens + len(tokens) <= self._settings.max_tokens

    def _ended(self, token: int, texts: list[str]) -> Delta | None:
        """Take one token, add its final text to `texts`, and return the last delta if the sample ends here."""
        if token < 0:
            raise damaged_model()
        self.tokens += 1
        if token == self._eos_id:
            return self._end("".join(texts), "stop")
        text, stopped = self._scan(self._decoder.push(token))
        texts.append(text)
        if stopped:
            return self._last("".join(texts), "stop")
        return self._end("".join(texts), "length") if self.tokens == self._settings.max_tokens else None

    def _scan(self, text: str) -> tuple[str, bool]:
        if not self._settings.stop:
            return text, False
        return self._scanner.push(text, may_stop=self.tokens > self._settings.min_tokens)

    def _end(self, text: str, reason: str) -> Delta:
        """End the sample with the text that was held back, which may contain a stop string."""
        rest, stopped = self._scan(self._decoder.flush())
        if stopped:
            return self._last(text + rest, "stop")
        return self._last(text + rest + self._scanner.flush(), reason)

    def _last(self, text: str, reason: str) -> Delta:
        self.finished = True
        return Delta(self.sample, text, reason, self.tokens)


def _unwritten(tokenizer: Tokenizer, settings: SamplingSettings) -> int | None:
    """Return the token that is never drawn."""
    return tokenizer.unwritten_id if settings.unknown_token == "banned" else None  # nosec B105 # not a password


def _joined(deltas: list[Delta], seed: int) -> Sample:
    last = deltas[-1]
    return Sample("".join(delta.text for delta in deltas), str(last.finish_reason), last.tokens, seed)

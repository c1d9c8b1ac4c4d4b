"""A batch of samples drawn in C: the counterpart of `batch.StepwiseBatch`.

It computes the same up to rounding and uses the same random numbers, so a seed gives the same text. One call draws a
block of tokens; `generate` discards tokens that a row drew beyond its end. The first block has one token, so that text
appears at once. Later blocks are longer, but short enough to notice a closed stream soon.

V: vocabulary, B: rows, W: tokens of the repetition penalty's window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unrolled.config import SamplingSettings
from unrolled.decoding import NativeDecoder
from unrolled.native import decode
from unrolled.sampling.batch import Request
from unrolled.sampling.sampler import GREEDY_BELOW, generator_for

KNOWN_SETTINGS = {
    *("temperature", "top_k", "top_p", "min_p", "typical_p"),
    *("repetition_penalty", "repetition_window", "presence_penalty", "frequency_penalty"),
    *("min_tokens", "max_tokens", "n", "seed"),
    *("stop", "unknown_token"),  # applied by `generate`, before and after a token is drawn
}
GROWTH = 4  # ratio of a block's length to that of the previous one


class NativeBatch:
    """Blocks of tokens for each row; see `batch.SampleBatch`."""

    def __init__(self, decoder: NativeDecoder, request: Request) -> None:
        """Store the request; the prompt is read when the first tokens are drawn."""
        settings, rows = request.settings, request.settings.n
        self._decoder, self._request = decoder, request
        self._generators = [generator_for(request.seed, sample) for sample in range(rows)]
        self._settings = _draw_settings(request)
        self._written, self._observed, self._block = 0, 0, 1
        self._arrays: dict[str, np.ndarray] = {"ids": np.zeros(rows, np.int64)}
        if settings.repetition_penalty != 1:
            self._observe(request.prompt)
        if settings.frequency_penalty != 0 or settings.presence_penalty != 0:
            self._arrays["counts"] = np.zeros((rows, decoder.vocabulary_size), np.int32)

    @staticmethod
    def supports(settings: SamplingSettings) -> bool:
        """Tell whether this batch applies every setting; an unknown one must not be ignored, even at its default."""
        return KNOWN_SETTINGS.issuperset(type(settings).model_fields)

    def next(self) -> list[list[int]]:
        """See `SampleBatch.next`."""
        fresh = self._written == 0
        if fresh:
            self._prefill()
        tokens = self._write(self._tokens_of_block(), fresh)
        return tokens.tolist()

    def keep(self, rows: Sequence[int]) -> None:
        """See `SampleBatch.keep`."""
        self._generators = [self._generators[row] for row in rows]
        by_layer = ("h", "c")
        self._arrays = {name: a.take(rows, axis=int(name in by_layer)) for name, a in self._arrays.items()}

    def _observe(self, prompt: np.ndarray) -> None:
        """Put the prompt into the penalty window of every row."""
        rows, window = self._request.settings.n, self._settings.window
        observed = np.asarray(prompt, np.int64)[-window:]
        counts = np.bincount(observed, minlength=self._decoder.vocabulary_size)
        self._arrays["seen"] = np.tile(counts.astype(np.int32), (rows, 1))
        self._observed = len(observed)
        if window:
            ring = np.zeros((rows, window), np.int32)
            ring[:, : len(observed)] = observed
            self._arrays["ring"] = ring

    def _prefill(self) -> None:
        rows = self._request.settings.n
        logits, state = self._decoder.prefill(self._request.first_ids, self._decoder.initial_state(1))
        self._arrays["h"], self._arrays["c"] = state.h.repeat(rows, axis=1), state.c.repeat(rows, axis=1)
        self._arrays["logits"] = np.tile(logits, (rows, 1))

    def _tokens_of_block(self) -> int:
        block = min(self._block, self._request.settings.max_tokens - self._written)
        self._block = min(GROWTH * self._block, self._decoder.block_for(len(self._generators)))
        return block

    def _write(self, block: int, fresh: bool) -> np.ndarray:
        """Return the rows' next tokens, (B, `block`)."""
        count = len(self._generators)
        uniforms = np.array([[generator.random() for _ in range(block)] for generator in self._generators])
        tokens = np.empty((count, block), np.int64)
        arrays = {**self._arrays, "h_new": np.empty_like(self._arrays["h"]), "uniforms": uniforms, "tokens": tokens}
        addresses = {name: decode.address(array) for name, array in arrays.items()}
        rows = decode.Rows(count, block, self._written, self._observed, **addresses)
        self._decoder.packed.write(self._settings, rows, fresh)
        self._written += block
        self._observed += block
        return tokens


def _draw_settings(request: Request) -> decode.DrawSettings:
    """Return the settings for C: a neutral value if a setting is off, -1 for no token."""
    settings = request.settings
    return decode.DrawSettings(
        temperature=0 if settings.temperature < GREEDY_BELOW else settings.temperature,
        repetition=settings.repetition_penalty,
        frequency=settings.frequency_penalty,
        presence=settings.presence_penalty,
        top_p=settings.top_p,
        log_min_p=float(np.log(settings.min_p)) if settings.min_p > 0 else -math.inf,
        typical_p=settings.typical_p,
        top_k=max(0, settings.top_k),
        window=_window(settings, len(request.prompt)),
        least=settings.min_tokens,
        end=-1 if request.end is None else request.end,
        banned=-1 if request.banned is None else request.banned,
    )


def _window(settings: SamplingSettings, prompt_tokens: int) -> int:
    """Return the size of the window, or 0 (all tokens) if everything that can be written fits in it."""
    all_tokens = prompt_tokens + settings.max_tokens
    return 0 if settings.repetition_window >= all_tokens else settings.repetition_window

"""The decoder and the drawing in C: the twins of `stepper.NumpyDecoder` and `drawing.SteppedDrawing`.

They compute the same up to rounding, and draw with the same random numbers, so a seed gives the same text. A block of
tokens is written before Python sees them; what a row drew beyond its end is thrown away there. Blocks start with one
token and grow, so that the first one is out at once, and stay so short that a reader who left is noticed soon.

V: vocabulary, H: hidden size, L: layers, B: rows, N: tokens of a text, W: tokens of the repetition penalty's window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unrolled.config import SamplingSettings
from unrolled.kernels.native import decoding
from unrolled.sampling.choice import GREEDY_BELOW
from unrolled.sampling.draw import generator_for
from unrolled.sampling.drawing import Request
from unrolled.sampling.stepper import Layer, NumpyState, check_shapes

PRECISIONS = tuple(decoding.WIDTHS)
LONGEST_BLOCK = 64  # tokens
GROWTH = 4  # times as long as the block before
WORK_OF_A_BLOCK = 64e6  # weights read, about ten milliseconds
ROWS_AS_DEAR_AS_READING = 8  # for so many rows, multiplying takes as long as fetching the weights


class NativeDecoder:
    """A trained language model packed for C. It never changes, so any number of threads may share it."""

    def __init__(
        self,
        embedding: np.ndarray,
        layers: Sequence[Layer],
        output_weight: np.ndarray,
        output_bias: np.ndarray,
        precision: str = "float32",
    ) -> None:
        """Take the weights, as `NumpyDecoder` does.

        Args:
            embedding, layers, output_weight, output_bias: see `NumpyDecoder`.
            precision: of the matrices that every token reads: float32, or bfloat16, which is faster and rounds them.

        Raises:
            ValueError: shapes that do not belong together, or an unknown precision.
            RuntimeError: the native kernel was not built, or is switched off.
        """
        self.vocabulary_size, self.hidden_size = check_shapes(embedding, layers, output_weight, output_bias)
        w_ih, w_hh, bias = (np.asarray(part, np.float32) for part in layers[0])
        table = np.asarray(embedding, np.float32) @ w_ih + bias
        upper = [(np.concatenate([below, own]), b) for below, own, b in layers[1:]]
        self.layers = len(layers)
        self.packed = decoding.PackedModel(table, [(w_hh, bias), *upper], output_weight, output_bias, precision)
        weights = (8 * self.layers - 4) * self.hidden_size**2 + output_weight.size
        self._weights = weights

    def start(self, rows: int) -> NumpyState:
        """Return the zero state of `rows` rows."""
        shape = (self.layers, rows, self.hidden_size)
        return NumpyState(np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    def step(self, ids: np.ndarray, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        """Feed one token to each row; see `NumpyDecoder.step`."""
        ids, h, c = self._checked(ids, state, len(ids))
        logits = np.empty((len(ids), self.vocabulary_size), np.float32)
        h_new = np.empty_like(h)
        self.packed.step(ids, h, h_new, c, logits)
        return logits, NumpyState(h_new, c)

    def read(self, ids: np.ndarray, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        """Feed a text to a state of one row; see `NumpyDecoder.read`."""
        if len(ids) == 0:
            raise ValueError("a text to read has at least one token")
        ids, h, c = self._checked(ids, state, 1)
        logits, h = np.empty(self.vocabulary_size, np.float32), h.copy()
        self.packed.read(ids, h, c, logits)
        return logits, NumpyState(h, c)

    def block_for(self, rows: int) -> int:
        """Return how many tokens of so many rows are written in about ten milliseconds, 1 to 64."""
        dearness = self._weights * (1 + rows / ROWS_AS_DEAR_AS_READING)
        return max(1, min(LONGEST_BLOCK, int(WORK_OF_A_BLOCK / dearness)))

    def _checked(self, ids: np.ndarray, state: NumpyState, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids, h and a copy of c as C reads them, which would read foreign memory where they do not fit."""
        shape = (self.layers, rows, self.hidden_size)
        if np.shape(ids) != (len(ids),) or state.h.shape != shape or state.c.shape != shape:
            raise ValueError(f"ids {np.shape(ids)}, h {state.h.shape} and c {state.c.shape} do not fit {shape}")
        ids = np.ascontiguousarray(ids, np.int64)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.vocabulary_size:
            raise IndexError(f"an id is outside the vocabulary of {self.vocabulary_size} tokens")
        return ids, np.ascontiguousarray(state.h, np.float32), np.array(state.c, np.float32, order="C")


class NativeDrawing:
    """Blocks of tokens for each row; see `drawing.Drawing`."""

    def __init__(self, decoder: NativeDecoder, request: Request) -> None:
        """Take note of the request; the prompt is read with the first tokens."""
        settings, rows = request.settings, request.settings.n
        self._decoder, self._request = decoder, request
        self._generators = [generator_for(request.seed, sample) for sample in range(rows)]
        self._settings = _draw_settings(request)
        self._written, self._heard, self._block = 0, 0, 1
        self._arrays: dict[str, np.ndarray] = {"ids": np.zeros(rows, np.int64)}
        if settings.repetition_penalty != 1:
            self._hear(request.prompt)
        if settings.frequency_penalty != 0 or settings.presence_penalty != 0:
            self._arrays["counts"] = np.zeros((rows, decoder.vocabulary_size), np.int32)

    def next(self) -> list[list[int]]:
        """See `Drawing.next`."""
        fresh = self._written == 0
        if fresh:
            self._read()
        tokens = self._write(self._tokens_of_block(), fresh)
        return tokens.tolist()

    def keep(self, rows: Sequence[int]) -> None:
        """See `Drawing.keep`."""
        self._generators = [self._generators[row] for row in rows]
        by_layer = ("h", "c")
        self._arrays = {name: a.take(rows, axis=int(name in by_layer)) for name, a in self._arrays.items()}

    def _hear(self, prompt: np.ndarray) -> None:
        """Take the prompt into every row's window."""
        rows, window = self._request.settings.n, self._settings.window
        heard = np.asarray(prompt, np.int64)[-window:]
        counts = np.bincount(heard, minlength=self._decoder.vocabulary_size)
        self._arrays["seen"] = np.tile(counts.astype(np.int32), (rows, 1))
        self._heard = len(heard)
        if window:
            ring = np.zeros((rows, window), np.int32)
            ring[:, : len(heard)] = heard
            self._arrays["ring"] = ring

    def _read(self) -> None:
        rows = self._request.settings.n
        logits, state = self._decoder.read(self._request.first_ids, self._decoder.start(1))
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
        addresses = {name: decoding.address(array) for name, array in arrays.items()}
        rows = decoding.Rows(count, block, self._written, self._heard, **addresses)
        self._decoder.packed.write(self._settings, rows, fresh)
        self._written += block
        self._heard += block
        return tokens


def _draw_settings(request: Request) -> decoding.DrawSettings:
    """Return the settings as C reads them: what is off is neutral, what is nothing is -1."""
    settings = request.settings
    return decoding.DrawSettings(
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
    """Return the window's size, or 0 (all tokens) where it can hold whatever will be written."""
    all_tokens = prompt_tokens + settings.max_tokens
    return 0 if settings.repetition_window >= all_tokens else settings.repetition_window

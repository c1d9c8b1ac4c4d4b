"""The decoder in C: the counterpart of `numpy_decoder.NumpyDecoder`, equal to it up to rounding.

It can also write a block of tokens in one call (`sampling.native_batch`), and limits the length of a block.

V: vocabulary, H: hidden size, L: layers, B: rows, N: tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unrolled.decoding.decoder import Support
from unrolled.decoding.numpy_decoder import NumpyState
from unrolled.decoding.weights import Layer, check_shapes, support_by_weights
from unrolled.native import DTYPES, decode, native_library, native_status
from unrolled.nn import LanguageModel

PRECISIONS = tuple(DTYPES)
LONGEST_BLOCK = 64  # tokens
WORK_OF_A_BLOCK = 64e6  # weights read, about ten milliseconds
ROWS_COSTING_ONE_READ = 8  # multiplying for this number of rows takes as long as fetching the weights


class NativeDecoder:
    """A trained language model packed for C. Immutable, so threads can share it."""

    name = "native"
    precisions = PRECISIONS

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
            precision: of the matrices: float32, or bfloat16, which is faster and rounds them.

        Raises:
            ValueError: the shapes do not match, or the precision is unknown.
            RuntimeError: unrolled was installed without its native kernel.
        """
        self.vocabulary_size, self.hidden_size = check_shapes(embedding, layers, output_weight, output_bias)
        w_ih, w_hh, bias = (np.asarray(part, np.float32) for part in layers[0])
        table = np.asarray(embedding, np.float32) @ w_ih + bias
        upper = [(np.concatenate([below, own]), b) for below, own, b in layers[1:]]
        self.layers = len(layers)
        self.packed = decode.PackedModel(table, [(w_hh, bias), *upper], output_weight, output_bias, precision)
        self._weights = (8 * self.layers - 4) * self.hidden_size**2 + output_weight.size

    @staticmethod
    def supports(model: LanguageModel) -> Support:
        """Tell whether the decoder's weights are the whole model, and the C library is available."""
        if native_library() is None:
            return Support(False, f"native is {native_status()}")
        known = support_by_weights(model)
        return Support(True, native_status()) if known else known

    def initial_state(self, rows: int) -> NumpyState:
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

    def prefill(self, ids: np.ndarray, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        """Feed several tokens to a state of one row; see `NumpyDecoder.prefill`."""
        if len(ids) == 0:
            raise ValueError("a prefill needs at least one token")
        ids, h, c = self._checked(ids, state, 1)
        logits, h = np.empty(self.vocabulary_size, np.float32), h.copy()
        self.packed.read(ids, h, c, logits)
        return logits, NumpyState(h, c)

    def block_for(self, rows: int) -> int:
        """Return the number of tokens that `rows` rows can write in about ten milliseconds, 1 to 64."""
        cost = self._weights * (1 + rows / ROWS_COSTING_ONE_READ)
        return max(1, min(LONGEST_BLOCK, int(WORK_OF_A_BLOCK / cost)))

    def _checked(self, ids: np.ndarray, state: NumpyState, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids, h and a copy of c as C reads them, after a check: C would read beyond smaller arrays."""
        shape = (self.layers, rows, self.hidden_size)
        if np.shape(ids) != (len(ids),) or state.h.shape != shape or state.c.shape != shape:
            raise ValueError(f"ids {np.shape(ids)}, h {state.h.shape} and c {state.c.shape} do not fit {shape}")
        ids = np.ascontiguousarray(ids, np.int64)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.vocabulary_size:
            raise IndexError(f"an id is outside the vocabulary of {self.vocabulary_size} tokens")
        return ids, np.ascontiguousarray(state.h, np.float32), np.array(state.c, np.float32, order="C")

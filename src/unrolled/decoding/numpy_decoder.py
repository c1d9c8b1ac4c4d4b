"""The LSTM in numpy, one token at a time, without the dispatch overhead of a tensor library.

    a = table[id] + h W_hh            i, f, o = sigmoid(a)    g = tanh(a)         table = embedding W_ih + b
    c' = f * c + i * g                h' = o * tanh(c')                           logits = h' W_out^T + b_out

It equals `unrolled.kernels.reference`. As sigmoid(a) = tanh(a / 2) / 2 + 1/2, one call of tanh serves all four gates:
the columns of i, f and o are halved (which is exact) at construction, and the order of the gates is i f o g.
Each row has its own matrix products, so its results do not depend on the other rows of a batch.

B: rows, V: vocabulary, E: embedding, H: hidden size, L: layers, I: a layer's input size (E for the first, then H).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unrolled.decoding.decoder import Support
from unrolled.decoding.weights import Layer, check_shapes, support_by_weights
from unrolled.kernels import GATES
from unrolled.nn import LanguageModel

HALF = np.array(0.5, np.float32)  # an array, as numpy would convert a Python number at every step


class NumpyState(NamedTuple):
    """The state of each row; an immutable value."""

    h: np.ndarray  # (L, B, H) float32
    c: np.ndarray  # (L, B, H) float32

    def select(self, rows: Sequence[int]) -> NumpyState:
        """Return the state of these rows, in this order; a row may be selected several times."""
        return NumpyState(self.h.take(rows, axis=1), self.c.take(rows, axis=1))


class NumpyDecoder:
    """A trained language model as plain arrays. Immutable, so threads can share it."""

    name = "numpy"
    precisions = ("float32",)

    def __init__(
        self,
        embedding: np.ndarray,
        layers: Sequence[Layer],
        output_weight: np.ndarray,
        output_bias: np.ndarray,
    ) -> None:
        """Take the weights, with the gates in the order i f g o.

        Args:
            embedding: (V, E).
            layers: for each, w_ih (I, 4H), w_hh (H, 4H) and bias (4H,).
            output_weight: (V, H).
            output_bias: (V,).

        Raises:
            ValueError: the shapes do not match.
        """
        self.vocabulary_size, self.hidden_size = check_shapes(embedding, layers, output_weight, output_bias)
        prepared = [tuple(_for_one_tanh(np.asarray(part)) for part in layer) for layer in layers]
        w_ih, _, bias = prepared[0]
        self._table = _float32(_float32(embedding) @ w_ih + bias)  # (V, 4H)
        self._recurrent = [w_hh for _, w_hh, _ in prepared]  # L x (H, 4H)
        self._upper = [(w_ih, bias) for w_ih, _, bias in prepared[1:]]  # (L - 1) x ((H, 4H), (4H,))
        self._output_weight = _float32(np.transpose(output_weight))  # (H, V)
        self._output_bias = _float32(output_bias)  # (V,)

    @staticmethod
    def supports(model: LanguageModel) -> Support:
        """Tell whether the decoder's weights are the whole model."""
        return support_by_weights(model)

    def initial_state(self, rows: int) -> NumpyState:
        """Return the zero state of `rows` rows."""
        shape = (len(self._recurrent), rows, self.hidden_size)
        return NumpyState(np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    def step(self, ids: np.ndarray, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        """Feed one token to each row.

        Args:
            ids: tokens, (B,) integers.
            state: the state of the B rows; left as it is.

        Returns:
            The logits of the next token, (B, V) float32, and the new state.
        """
        state = self._advance(ids, state)
        return self._logits(state), state

    def prefill(self, ids: np.ndarray, state: NumpyState) -> tuple[np.ndarray, NumpyState]:
        """Feed several tokens to a state of one row.

        Args:
            ids: tokens, (N,) integers, at least one.
            state: a state of one row; left as it is.

        Returns:
            The logits of the token after them, (V,) float32, and the new state.

        Raises:
            ValueError: no tokens are given.
        """
        if len(ids) == 0:
            raise ValueError("a prefill needs at least one token")
        for index in range(len(ids)):
            state = self._advance(ids[index : index + 1], state)
        return self._logits(state)[0], state

    def _advance(self, ids: np.ndarray, state: NumpyState) -> NumpyState:
        h, c = np.empty_like(state.h), np.empty_like(state.c)
        for layer, w_hh in enumerate(self._recurrent):
            a = _products(state.h[layer], w_hh)  # (B, 4H)
            if layer == 0:
                a += self._table.take(ids, axis=0)
            else:
                w_ih, bias = self._upper[layer - 1]
                a += _products(h[layer - 1], w_ih)
                a += bias
            _cell(a, state.c[layer], h[layer], c[layer])
        return NumpyState(h, c)

    def _logits(self, state: NumpyState) -> np.ndarray:
        logits = _products(state.h[-1], self._output_weight)
        logits += self._output_bias
        return logits


def _cell(a: np.ndarray, c: np.ndarray, new_h: np.ndarray, new_c: np.ndarray) -> None:
    """Write a layer's new state (B, H), from its pre-activations a (B, 4H), which are overwritten, and its cells c."""
    size = c.shape[1]
    np.tanh(a, out=a)
    sigmoids = a[:, : 3 * size]
    sigmoids *= HALF
    sigmoids += HALF
    np.multiply(a[:, size : 2 * size], c, out=new_c)  # f * c
    written = a[:, :size]
    written *= a[:, 3 * size :]  # i * g
    new_c += written
    np.tanh(new_c, out=new_h)
    new_h *= a[:, 2 * size : 3 * size]  # o * tanh(c')


def _products(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return rows (B, I) @ weight (I, K) as B products of a vector and a matrix.

    One product of two matrices would be faster for two rows or more, but a row's rounding would depend on its batch.
    """
    return np.matmul(rows[:, None], weight)[:, 0]


def _for_one_tanh(columns: np.ndarray) -> np.ndarray:
    """Return (..., 4H) weights of the gates i f g o as float32 in the order i f o g, with i, f and o halved."""
    i, f, g, o = np.split(_float32(columns), GATES, axis=-1)
    return np.ascontiguousarray(np.concatenate([i * HALF, f * HALF, o * HALF, g], axis=-1))


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32)

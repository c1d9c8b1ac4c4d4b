"""A language model's weights packed for `decode.c`, and calls of its functions.

All arrays are numpy arrays, float32 and contiguous unless stated otherwise, and live as long as the objects here. The
caller checks ids and shapes: C does not.

V: vocabulary, H: hidden size, L: layers, B: rows, S: tokens of a block, W: tokens of the repetition penalty's window.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from unrolled.native.library import native_library, native_status
from unrolled.native.operands import GATES
from unrolled.native.precisions import DTYPES
from unrolled.native.threads import parts_of, run_parts

_SIZE, _POINTER, _DOUBLE, _INT = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_double, ctypes.c_int64
LINE_BYTES = 64  # of a cache line; vectors that straddle two lines take twice as long to read
ROWS_A_THREAD = 4  # with fewer, each thread would read all weights for little work


class Model(ctypes.Structure):
    """`decode_model`."""

    _fields_ = [(name, _SIZE) for name in ("vocabulary", "hidden", "layers", "width")] + [
        (name, _POINTER) for name in ("table", "weights", "biases", "output", "output_bias")
    ]


class DrawSettings(ctypes.Structure):
    """`decode_settings`."""

    _fields_ = [
        *((name, _DOUBLE) for name in ("temperature", "repetition", "frequency", "presence")),
        *((name, _DOUBLE) for name in ("top_p", "log_min_p", "typical_p")),
        *((name, _SIZE) for name in ("top_k", "window", "least")),
        *((name, _INT) for name in ("end", "banned")),
    ]


class Rows(ctypes.Structure):
    """`decode_rows`."""

    _fields_ = [(name, _SIZE) for name in ("rows", "block", "written", "observed")] + [
        (name, _POINTER)
        for name in ("ids", "h", "h_new", "c", "logits", "seen", "ring", "counts", "uniforms", "tokens")
    ]


class PackedModel:
    """Weights in the order in which C reads them. Immutable, so threads can share them."""

    def __init__(
        self,
        table: np.ndarray,
        layers: Sequence[tuple[np.ndarray, np.ndarray]],
        output_weight: np.ndarray,
        output_bias: np.ndarray,
        precision: str = "float32",
    ) -> None:
        """Pack a model.

        Args:
            table: (V, 4H), the pre-activations of the first layer's gates i f g o for each token, bias included.
            layers: for each a matrix, (H, 4H) for the first and W_ih over W_hh (2H, 4H) above, and its bias (4H,).
            output_weight: (V, H).
            output_bias: (V,).
            precision: float32, or bfloat16 to halve the size of the matrices; sums, state and table stay float32.

        Raises:
            ValueError: an unknown precision.
            RuntimeError: the library was not built, or is switched off.
        """
        if precision not in DTYPES:
            raise ValueError(f"a decoder's precision is {' or '.join(DTYPES)}, not {precision!r}")
        library = native_library()
        if library is None:
            raise RuntimeError(f"there is no native kernel here: {native_status()}")
        self._library = library
        V, H, L = *output_weight.shape, len(layers)
        weights = _aligned(library.decode_packed_size(H, L))
        output = _aligned(library.decode_packed_output_size(V, H))
        _pack_layers(library, [np.ascontiguousarray(matrix, np.float32) for matrix, _ in layers], weights)
        matrix = np.ascontiguousarray(output_weight, np.float32)  # named, so that it is not freed before C reads it
        library.decode_pack_output(V, H, address(matrix), address(output))
        biases = np.stack([np.asarray(bias, np.float32) for _, bias in layers])[1:]
        if precision == "bfloat16":
            weights, output = _as_bfloat16(library, weights), _as_bfloat16(library, output)
        arrays = [np.ascontiguousarray(a, np.float32) for a in (table, weights, biases, output, output_bias)]
        self._alive = arrays
        self._model = ctypes.byref(Model(V, H, L, DTYPES[precision].itemsize, *map(address, arrays)))
        self.scratch_size = library.decode_scratch_size(V)

    def step(self, ids: np.ndarray, h: np.ndarray, h_new: np.ndarray, c: np.ndarray, logits: np.ndarray) -> None:
        """Feed a token to each row: ids (B,) int64; h in, h_new out, c in and out, (L, B, H); logits out, (B, V)."""
        arrays = [address(array) for array in (ids, h, h_new, c, logits)]
        rows = len(ids)
        run_parts(
            parts_of(rows, ROWS_A_THREAD),
            lambda first, last: self._library.decode_step(self._model, rows, first, last, *arrays),
        )

    def read(self, ids: np.ndarray, h: np.ndarray, c: np.ndarray, logits: np.ndarray) -> None:
        """Feed tokens to one row: ids (N,) int64, at least one; h and c in and out, (L, 1, H); logits out, (V,)."""
        arrays = (ids, h, np.empty_like(h), c, logits)  # named, so that the third is not freed before C writes to it
        self._library.decode_read(self._model, len(ids), *map(address, arrays))

    def write(self, settings: DrawSettings, rows: Rows, fresh: bool) -> None:
        """Write a block of tokens for each row; `fresh`: the logits already are those of its first token."""
        shared = ctypes.byref(settings), ctypes.byref(rows)

        def write_rows(first: int, last: int) -> None:
            scratch = np.empty(self.scratch_size)
            self._library.decode_write(self._model, *shared, first, last, fresh, address(scratch))

        run_parts(parts_of(rows.rows, ROWS_A_THREAD), write_rows)


def address(array: np.ndarray | None) -> int | None:
    """Return the address of an array's first number; None for None.

    Raises:
        ValueError: the array is not contiguous.
    """
    if array is None:
        return None
    if not array.flags.c_contiguous:
        raise ValueError("an array for C must be contiguous")
    return array.__array_interface__["data"][0]  # array.ctypes takes five times as long


def _pack_layers(library: ctypes.CDLL, matrices: Sequence[np.ndarray], weights: np.ndarray) -> None:
    at, size = 0, library.decode_packed_size(matrices[0].shape[0], 1)
    for matrix in matrices:
        K, H = matrix.shape[0], matrix.shape[1] // GATES
        library.decode_pack(K, H, address(matrix), address(weights[at:]))
        at += size * (K // H)


def _as_bfloat16(library: ctypes.CDLL, packed: np.ndarray) -> np.ndarray:
    """Return packed weights as bfloat16, two in the space of each float32."""
    rounded = _aligned(len(packed) // 2)
    library.decode_halve(len(packed), address(packed), address(rounded))
    return rounded


def _aligned(size: int) -> np.ndarray:
    """Return `size` numbers that start at a cache line."""
    memory = np.empty(size + LINE_BYTES // 4, np.float32)
    start = -address(memory) % LINE_BYTES // 4
    return memory[start : start + size]

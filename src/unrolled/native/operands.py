"""The C functions for operands of one kind, float32 or bfloat16, on tensors; see the headers in `csrc/`.

"Grouped": four gates of VL units side by side, then those of the next VL units, with zeros beyond the last unit; P
numbers for H units, a multiple of 4 VL. "Operands": a matrix (M, K') of that kind, where K' is K, rounded up to even
for bfloat16.
M: rows, K: inner size, N: columns, H: hidden size, G: groups of VL units.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.native.library import native_library, native_status
from unrolled.native.precisions import DTYPES
from unrolled.native.team import Argument, Cut, cut, do_parts

GATES = 4  # i f g o, in this order everywhere
MULTIPLICATIONS_PER_MOVE = 48  # moving a number takes as long as this many multiplications
WINDOW_ROWS, STRIP_GROUPS = 264, 32  # as in lstm.c: rows and groups of columns per read of the other operand
PLAIN, COLUMNS_BY_GATES, ROWS_BY_GATES = range(3)  # as in products.h
_ONE = torch.ones((), dtype=torch.float32)


@dataclass(frozen=True)
class Packed:
    """A float32 matrix (K, N) in the order in which the products read it."""

    panels: Tensor
    K: int
    N: int


@dataclass(frozen=True)
class Operands:
    """Products and packing for operands of one kind."""

    library: ctypes.CDLL
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """The type of the operands."""
        return DTYPES[self.precision]

    @property
    def vector_length(self) -> int:
        """VL: the units of a gate in a group."""
        return self.library.lstm_vector_length()

    def size(self, name: str, *sizes: int) -> int:
        """Call the C function of that name for this kind; it returns a size."""
        return getattr(self.library, f"{name}_{self.precision}")(*sizes)

    def do(self, work: str, items: Cut, *, scratch_bytes: int = 0, **arguments: Argument) -> None:
        """Process a kind of work of the library for these operands; see `do_parts`."""
        do_parts(self.library, work, self.precision, items, scratch_bytes, arguments)

    def empty(self, *shape: int) -> Tensor:
        """Return uninitialized operands."""
        return torch.empty(shape, dtype=self.dtype)

    def even(self, size: int) -> int:
        """Return the width, as operands, of a matrix with `size` columns."""
        return size + size % 2 if self.precision == "bfloat16" else size

    def of(self, x: Tensor) -> Tensor:
        """Return a float32 matrix (M, K) as operands (M, K'); the matrix itself for float32 operands."""
        x = x.contiguous()
        if self.dtype == x.dtype:
            return x
        M, K = x.shape
        out = self.empty(M, self.even(K))
        self.do("operands", cut(M, K * MULTIPLICATIONS_PER_MOVE), K=K, x=x, out=out)
        return out

    def pack(self, w: Tensor, order: int = PLAIN, units: int = 0) -> Packed:
        """Return a float32 matrix (K, N), of any strides, packed.

        Args:
            w: the matrix.
            order: COLUMNS_BY_GATES or ROWS_BY_GATES groups the gates of `units` units on that side; PLAIN neither.
            units: H.
        """
        K, N = w.shape
        K = self.grouped_size(units) if order == ROWS_BY_GATES else K
        panels = self.empty(self.size("packed_size", K, N))
        groups = cut(self.size("packed_groups", N), K * GATES * self.vector_length * MULTIPLICATIONS_PER_MOVE)
        down, across = w.stride()
        self.do("pack", groups, K=K, N=N, order=order, units=units, w=w, down=down, across=across, packed=panels)
        return Packed(panels, K, self.grouped_size(units) if order == COLUMNS_BY_GATES else N)

    def product(self, x: Tensor, w: Packed, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Return x W + bias, (M, N) in float32, for operands x (M, K'); in `out`, if given."""
        M = x.shape[0]
        out = torch.empty(M, w.N, dtype=torch.float32) if out is None else out
        scratch_bytes = self.size("product_scratch", w.K) * self.dtype.itemsize
        rows = cut(M, w.K * w.N, WINDOW_ROWS)
        self.do("product", rows, K=w.K, N=w.N, x=x, packed=w.panels, bias=bias, out=out, scratch_bytes=scratch_bytes)
        return out

    def zeros_by_group(self, rows: int, columns: int) -> Tensor:
        """Return zeros in the layout to which `add_transposed_product` adds: (groups, rows, 4 VL)."""
        group = GATES * self.vector_length
        return torch.zeros(-(-columns // group), rows, group, dtype=torch.float32)

    def add_transposed_product(
        self, out: Tensor, a: Tensor, b: Tensor, columns: int, sums: Tensor | None = None, ids: Tensor | None = None
    ) -> None:
        """Add a^T b to `out` (groups, K, 4 VL), for operands a (M, K') and b (M, N') with `columns` columns.

        If `sums` (V, N) is given, each row of b is also added to the row of `sums` given by ids (M,); without ids, to
        its first row.
        """
        groups, K, wide = out.shape
        M = a.shape[0]
        shared = {
            "R": M,
            "K": K,
            "N": columns,
            "a": a,
            "a_width": a.stride(0),
            "b": b,
            "b_width": b.stride(0),
            "out": out,
        }
        scratch_bytes = self.size("transposed_product_scratch") * self.dtype.itemsize
        if M and sums is None and groups * wide < K:  # split along the longer side: each thread packs the other one
            rows = cut(K, M * groups * wide)
            self.do("transposed_product_rows", rows, **shared, scratch_bytes=scratch_bytes)
        elif M:
            strips = cut(groups, M * K * wide, STRIP_GROUPS)
            self.do("transposed_product", strips, **shared, ids=ids, sums=sums, scratch_bytes=scratch_bytes)

    def side_by_side(
        self, by_group: Tensor, columns: int, scale: Tensor | None = None, order: int = PLAIN, units: int = 0
    ) -> Tensor:
        """Return sums (groups, rows, 4 VL) as a matrix.

        Args:
            by_group: the sums.
            columns: their number of columns.
            scale: factor of the sums, a scalar tensor; 1 if not given.
            order: PLAIN for a matrix (rows, columns); COLUMNS_BY_GATES if the columns are the grouped gates of `units`
                units, for (rows, 4H).
            units: H.
        """
        rows = by_group.shape[1]
        out = torch.empty(rows, columns if order == PLAIN else GATES * units, dtype=torch.float32)
        scale = _ONE if scale is None else scale
        work, shape = cut(rows, columns * MULTIPLICATIONS_PER_MOVE), {"K": rows, "N": out.shape[1]}
        self.do("side_by_side", work, **shape, order=order, units=units, by_group=by_group, scale=scale, out=out)
        return out

    def grouped_size(self, H: int) -> int:
        """Return P."""
        return GATES * self.groups(H) * self.vector_length

    def groups(self, H: int) -> int:
        """Return G."""
        return -(-H // self.vector_length)

    def grouped(self, gates: Tensor) -> Tensor:
        """Return (..., 4H) grouped, (..., P)."""
        G, VL = self.groups(gates.shape[-1] // GATES), self.vector_length
        by_gate = self._padded(gates.unflatten(-1, (GATES, -1)) if gates.shape[-1] else gates.unflatten(-1, (GATES, 0)))
        return by_gate.unflatten(-1, (G, VL)).transpose(-3, -2).flatten(-3).contiguous()

    def ungrouped(self, grouped: Tensor, H: int) -> Tensor:
        """Return (..., P) as (..., 4H)."""
        by_group = grouped.unflatten(-1, (self.groups(H), GATES, self.vector_length))
        return by_group.transpose(-3, -2).flatten(-2)[..., :H].flatten(-2).contiguous()

    def grouped_state(self, c: Tensor) -> Tensor:
        """Return a copy of a state (B, H) as (G, B, VL)."""
        by_unit = self._padded(c).unflatten(-1, (self.groups(c.shape[-1]), self.vector_length))
        return by_unit.transpose(0, 1).clone(memory_format=torch.contiguous_format)

    def ungrouped_state(self, grouped: Tensor, H: int) -> Tensor:
        """Return (G, B, VL) as (B, H)."""
        return grouped.transpose(0, 1).flatten(1)[:, :H].contiguous()

    def _padded(self, units: Tensor) -> Tensor:
        """Return (..., H) with zeros up to a whole number of vectors."""
        return functional.pad(units, (0, -units.shape[-1] % self.vector_length))


def are_within(ids: Tensor, count: int) -> bool:
    """Return whether all ids are in [0, count)."""
    if ids.numel() == 0:
        return True
    least, most = torch.aminmax(ids)
    return int(least) >= 0 and int(most) < count


def operands(precision: str) -> Operands:
    """Return the functions for float32 or bfloat16 operands of the library in use."""
    library = native_library()
    if library is None:
        raise RuntimeError(f"there is no native kernel here: {native_status()}")
    return _operands(library, precision)


@cache
def _operands(library: ctypes.CDLL, precision: str) -> Operands:
    return Operands(library, precision)

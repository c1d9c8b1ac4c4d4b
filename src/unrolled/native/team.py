"""Work of the C library, divided into parts for a team of threads; see `team.h` and `parts.h`."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled.native.threads import call_in_threads, threads_worth

LINE_BYTES = 64  # each member's scratch space starts at a cache line

# the arguments of each kind of work in the order of `parts.h`: SIZES, and addresses of arrays
PARTS = {
    "operands": ("K", "x", "out"),
    "pack": ("K", "N", "order", "units", "w", "down", "across", "packed"),
    "product": ("K", "N", "x", "packed", "bias", "out"),
    "transposed_product": ("R", "K", "N", "a", "a_width", "b", "b_width", "ids", "sums", "out"),
    "transposed_product_rows": ("R", "K", "N", "a", "a_width", "b", "b_width", "out"),
    "side_by_side": ("K", "N", "order", "units", "by_group", "scale", "out"),
    "cross_entropy": (
        *("H", "V", "h", "packed", "packed_back", "bias", "targets", "scale"),
        *("dz", "d_h", "d_bias", "nats"),
    ),
    "orthogonal": ("R", "C", "iterations", "matrices", "coefficients", "out"),
    "lstm_forward": ("T", "B", "H", "source", "ids", "packed", "h0", "gates", "cells", "states", "h", "c"),
    "lstm_backward": ("T", "B", "H", "grad_h", "packed", "gates", "cells", "c0", "dh", "dc", "d_gates"),
}
SIZES = {"T", "B", "H", "V", "K", "N", "R", "C", "order", "units", "down", "across", "a_width", "b_width", "iterations"}
FLOAT32_ONLY = {"orthogonal"}


Argument = int | Tensor | None


class _Work(ctypes.Structure):
    """`team_work` of C."""

    _fields_ = (
        ("part", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("parts", ctypes.c_size_t),
        ("scratch", ctypes.c_void_p),
        ("scratch_bytes", ctypes.c_size_t),
        ("members", ctypes.c_size_t),
        ("next", ctypes.c_size_t),
    )


@dataclass(frozen=True)
class Cut:
    """`count` items, divided into parts for a team of threads; a free thread takes the next part."""

    count: int
    parts: int
    threads: int


def cut(count: int, work: int, most: int | None = None) -> Cut:
    """Divide `count` items into parts, the same number for each thread.

    Args:
        count: number of items.
        work: multiplications per item, or the equivalent of other work.
        most: items in a part, at most; without it, each thread has one part.
    """
    threads = threads_worth(count, work)
    parts = threads if most is None else threads * -(-count // (threads * most))
    return Cut(count, min(count, parts), threads)


def do_parts(
    library: ctypes.CDLL, name: str, precision: str, items: Cut, scratch_bytes: int, arguments: dict[str, Argument]
) -> None:
    """Process all parts of some work, for operands of that precision.

    Args:
        library: the C functions.
        name: the kind of work, one of PARTS.
        precision: `float32` or `bfloat16`.
        items: the parts.
        scratch_bytes: needed by each member of the team.
        arguments: those that PARTS lists, in any order: sizes, tensors, and None for an absent array.

    Raises:
        TypeError: an argument is missing, unknown, or of the wrong type.
    """
    if problems := _problems(PARTS[name], arguments):
        raise TypeError(f"{name}: {', '.join(problems)}")
    arguments = {argument: arguments[argument] for argument in PARTS[name]}
    part = ctypes.cast(getattr(library, f"{name}_part_{precision}"), ctypes.c_void_p)
    plain = (a.data_ptr() if isinstance(a, Tensor) else a or 0 for a in arguments.values())
    numbers = (ctypes.c_size_t * len(arguments))(*plain)
    scratch_bytes = -(-scratch_bytes // LINE_BYTES) * LINE_BYTES
    scratch = torch.empty(items.threads * scratch_bytes, dtype=torch.uint8)
    work = _Work(
        part, ctypes.addressof(numbers), items.count, items.parts, scratch.data_ptr(), scratch_bytes, 0, 0
    )  # fmt: skip
    call_in_threads(library.team_member, ctypes.addressof(work), items.threads)


def _problems(names: tuple[str, ...], arguments: dict[str, Argument]) -> list[str]:
    """Return what is wrong with the arguments of work that takes these names."""
    missing = [f"{name} is missing" for name in names if name not in arguments]
    unknown = [f"{name} is unknown" for name in arguments if name not in names]
    wrong = [
        f"{name} is {'a size' if name in SIZES else 'an array'}"
        for name, value in arguments.items()
        if isinstance(value, int) != (name in SIZES)
    ]
    return missing + unknown + wrong

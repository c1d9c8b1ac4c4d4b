"""Work of the C library in parts, by a team of threads; see `team.h` and `parts.h`."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled.native.threads import call_in_threads, threads_worth

LINE_BYTES = 64  # members' scratch begins on cache lines of its own

# the arguments of each work's parts in the order of `parts.h`: SIZES, and addresses of arrays
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
    """As `team_work`."""

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
    """So many things in parts for a team of threads; whoever is free takes the next part."""

    count: int
    parts: int
    threads: int


def cut(count: int, work: int, most: int | None = None) -> Cut:
    """Cut `count` things into as many parts for each thread.

    Args:
        count: number of things.
        work: multiplications, or what takes as long, for each thing.
        most: things of a part, at most; none: each thread has one part.
    """
    threads = threads_worth(count, work)
    parts = threads if most is None else threads * -(-count // (threads * most))
    return Cut(count, min(count, parts), threads)


def do_parts(
    library: ctypes.CDLL, name: str, precision: str, things: Cut, scratch_bytes: int, arguments: dict[str, Argument]
) -> None:
    """Do a work for operands of that precision, all parts of it.

    Args:
        library: the C functions.
        name: of the work, one of PARTS.
        precision: `float32` or `bfloat16`.
        things: the parts.
        scratch_bytes: what a member of the team needs.
        arguments: those that PARTS names, in any order: sizes, tensors, and None for an array that is not there.

    Raises:
        TypeError: an argument is missing, unknown, or of the wrong type; C would read the others in its place.
    """
    if problems := _problems(PARTS[name], arguments):
        raise TypeError(f"{name}: {', '.join(problems)}")
    arguments = {argument: arguments[argument] for argument in PARTS[name]}
    part = ctypes.cast(getattr(library, f"{name}_part_{precision}"), ctypes.c_void_p)
    plain = (a.data_ptr() if isinstance(a, Tensor) else a or 0 for a in arguments.values())
    numbers = (ctypes.c_size_t * len(arguments))(*plain)
    scratch_bytes = -(-scratch_bytes // LINE_BYTES) * LINE_BYTES
    scratch = torch.empty(things.threads * scratch_bytes, dtype=torch.uint8)
    work = _Work(
        part, ctypes.addressof(numbers), things.count, things.parts, scratch.data_ptr(), scratch_bytes, 0, 0
    )  # fmt: skip
    call_in_threads(library.team_member, ctypes.addressof(work), things.threads)


def _problems(names: tuple[str, ...], arguments: dict[str, Argument]) -> list[str]:
    """Return what is wrong with the arguments of a work whose parts take these names."""
    missing = [f"{name} is missing" for name in names if name not in arguments]
    unknown = [f"{name} is unknown" for name in arguments if name not in names]
    wrong = [
        f"{name} is {'a size' if name in SIZES else 'an array'}"
        for name, value in arguments.items()
        if isinstance(value, int) != (name in SIZES)
    ]
    return missing + unknown + wrong

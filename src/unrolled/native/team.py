"""Work of the C library in parts, by a team of threads; see `team.h` and `parts.h`."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from unrolled.native.threads import call_in_threads, threads_worth

LINE_BYTES = 64  # members' scratch begins on cache lines of its own

# arguments of a work's parts: n a size, p an array or none
PARTS = {
    "operands": "npp",
    "pack": "nnnnpnnp",
    "product": "nnpppp",
    "transposed_product": "nnnpnpnppp",
    "transposed_product_rows": "nnnpnpnp",
    "side_by_side": "nnnnppp",
    "cross_entropy": "nnpppppppppp",
    "orthogonal": "nnnppp",
    "lstm_forward": "nnnppppppppp",
    "lstm_backward": "nnnpppppppp",
}
FLOAT32_ONLY = {"orthogonal"}


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
    library: ctypes.CDLL,
    name: str,
    precision: str,
    things: Cut,
    arguments: tuple[int | Tensor | None, ...],
    scratch_bytes: int = 0,
) -> None:
    """Do a work for operands of that precision, all parts of it.

    Args:
        library: the C functions.
        name: of the work, one of PARTS.
        precision: `float32` or `bfloat16`.
        things: the parts.
        arguments: sizes, tensors, and None for an array that is not there.
        scratch_bytes: what a member of the team needs.
    """
    if "".join("n" if isinstance(a, int) else "p" for a in arguments) != PARTS[name]:
        raise TypeError(f"{name} takes sizes and arrays {PARTS[name]}")
    part = ctypes.cast(getattr(library, f"{name}_part_{precision}"), ctypes.c_void_p)
    plain = (a.data_ptr() if isinstance(a, Tensor) else a or 0 for a in arguments)
    numbers = (ctypes.c_size_t * len(arguments))(*plain)
    scratch_bytes = -(-scratch_bytes // LINE_BYTES) * LINE_BYTES
    scratch = torch.empty(things.threads * scratch_bytes, dtype=torch.uint8)
    work = _Work(
        part, ctypes.addressof(numbers), things.count, things.parts, scratch.data_ptr(), scratch_bytes, 0, 0
    )  # fmt: skip
    call_in_threads(library.team_member, ctypes.addressof(work), things.threads)

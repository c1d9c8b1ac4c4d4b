"""Work in parts, a part a thread: each takes its own rows through all time steps and never waits for another."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import torch

_MEMBER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


WORTH_A_THREAD = 2**21  # multiplications: less is done by the time that another thread has begun


def in_parts(count: int, run: Callable[[int, int], None], work: int) -> None:
    """Call `run(first, last)` on parts of `count` things, a part a thread that is worth it, and wait for all of them.

    Args:
        count: number of things.
        run: does the things from the first up to the last.
        work: multiplications, or what takes as long, for each thing.
    """
    run_parts(parts_of(count, 1 + WORTH_A_THREAD // max(1, work)), run)


def parts_of(count: int, least: int = 1) -> list[tuple[int, int]]:
    """Cut `count` things into a part for each of PyTorch's threads, of `least` things or more if there are so many."""
    threads = max(1, min(count // least, torch.get_num_threads()))
    return list(pairwise(count * k // threads for k in range(threads + 1))) if count else []


def run_parts(parts: list[tuple[int, int]], run: Callable[[int, int], None]) -> None:
    """Call `run(first, last)` for every part, each in a thread of its own, and wait for all of them."""
    calls = [partial(run, *part) for part in parts]
    if len(calls) < 2:
        for call in calls:
            call()
    elif torchs_openmp() is not None:
        _in_torchs_threads(calls)
    else:
        _in_own_threads(calls)


def _in_torchs_threads(calls: list[Callable[[], None]]) -> None:
    """Make each call in a thread of the team that PyTorch's own operations use.

    A thread of that team waits for its next work without sleeping, for milliseconds: threads of our own would have to
    share a core with it, each time that work goes over from PyTorch to us. Inside, PyTorch's operations keep to the
    thread that calls them.
    """
    openmp, errors = torchs_openmp(), []

    def member(_: int | None) -> None:
        try:
            for number in range(openmp.omp_get_thread_num(), len(calls), openmp.omp_get_num_threads()):
                calls[number]()  # the team may be smaller than asked for
        except BaseException as error:  # an exception cannot pass through a frame of C
            errors.append(error)

    openmp.GOMP_parallel(_MEMBER(member), None, len(calls), 0)
    if errors:
        raise errors[0]


def _in_own_threads(calls: list[Callable[[], None]]) -> None:
    others = [_pool(len(calls) - 1).submit(call) for call in calls[1:]]
    try:
        calls[0]()
    finally:
        wait(others)  # an error is told when nobody works on the caller's tensors any more
    for other in others:
        other.result()


@cache
def torchs_openmp() -> ctypes.CDLL | None:
    """Return the OpenMP runtime that PyTorch brought along, where it has the interface of GNU's; else None."""
    package = Path(torch.__file__).parent
    for folder in (package / "lib", package.parent / "torch.libs"):
        for path in sorted(folder.glob("libgomp*.so*")):
            with contextlib.suppress(OSError, AttributeError):
                openmp = ctypes.CDLL(str(path))
                openmp.GOMP_parallel.argtypes = [_MEMBER, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
                openmp.GOMP_parallel.restype = None
                return openmp
    return None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="unrolled")

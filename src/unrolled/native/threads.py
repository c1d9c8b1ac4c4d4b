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
_IN_TEAM = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)

WORTH_A_THREAD = 2**21  # multiplications: less is done by the time that another thread has begun


def threads_worth(count: int, work: int) -> int:
    """Return how many threads `count` things are worth that take `work` multiplications each, or as long as those."""
    return max(1, min(count // (1 + WORTH_A_THREAD // max(1, work)), torch.get_num_threads()))


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


def call_in_threads(member: ctypes._CFuncPtr, argument: int, threads: int) -> None:
    """Call a C function that takes a pointer, once in each of so many threads or of a smaller team.

    No thread but the caller's needs Python for it: none waits for its lock before it begins.
    """
    openmp = torchs_openmp()
    if threads < 2:
        member(argument)
    elif openmp is not None:
        openmp.call_in_team(member, argument, threads, 0)
    else:
        _in_own_threads([partial(member, argument)] * threads)


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
                # the same for a function of C, which is passed as its address
                openmp.call_in_team = _IN_TEAM(("GOMP_parallel", openmp))
                return openmp
    return None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="unrolled")

"""Work divided between threads: each takes its own rows through all time steps and never waits for another."""

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

WORTH_A_THREAD = 2**21  # multiplications: less is finished before another thread has started


def threads_worth(count: int, work: int) -> int:
    """Return the number of threads worth using for `count` items of `work` multiplications each, or the equivalent."""
    return max(1, min(count // (1 + WORTH_A_THREAD // max(1, work)), torch.get_num_threads()))


def parts_of(count: int, least: int = 1) -> list[tuple[int, int]]:
    """Divide `count` items into a part for each of PyTorch's threads, of at least `least` items if possible."""
    threads = max(1, min(count // least, torch.get_num_threads()))
    return list(pairwise(count * k // threads for k in range(threads + 1))) if count else []


def run_parts(parts: list[tuple[int, int]], run: Callable[[int, int], None]) -> None:
    """Call `run(first, last)` for each part, each in its own thread, and wait for all of them."""
    calls = [partial(run, *part) for part in parts]
    if len(calls) < 2:
        for call in calls:
            call()
    elif torchs_openmp() is not None:
        _in_torchs_threads(calls)
    else:
        _in_own_threads(calls)


def call_in_threads(member: ctypes._CFuncPtr, argument: int, threads: int) -> None:
    """Call a C function that takes a pointer, once in each of `threads` threads, or in fewer if the team is smaller.

    Only the calling thread needs Python: the others start without waiting for its lock.
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

    A thread of that team spins for milliseconds while it waits for work: our own threads would have to share a core
    with it each time that work passes from PyTorch to us. Inside the team, PyTorch's operations run in the calling
    thread alone.
    """
    openmp, errors = torchs_openmp(), []

    def member(_: int | None) -> None:
        try:
            for number in range(openmp.omp_get_thread_num(), len(calls), openmp.omp_get_num_threads()):
                calls[number]()  # the team may be smaller than requested
        except BaseException as error:  # an exception cannot pass through a C frame
            errors.append(error)

    openmp.GOMP_parallel(_MEMBER(member), None, len(calls), 0)
    if errors:
        raise errors[0]


def _in_own_threads(calls: list[Callable[[], None]]) -> None:
    others = [_pool(len(calls) - 1).submit(call) for call in calls[1:]]
    try:
        calls[0]()
    finally:
        wait(others)  # raise an error only once no thread works on the caller's tensors
    for other in others:
        other.result()


@cache
def torchs_openmp() -> ctypes.CDLL | None:
    """Return the OpenMP runtime that ships with PyTorch if it has GNU's interface, else None."""
    package = Path(torch.__file__).parent
    for folder in (package / "lib", package.parent / "torch.libs"):
        for path in sorted(folder.glob("libgomp*.so*")):
            with contextlib.suppress(OSError, AttributeError):
                openmp = ctypes.CDLL(str(path))
                openmp.GOMP_parallel.argtypes = [_MEMBER, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
                openmp.GOMP_parallel.restype = None
                # the same for a C function, passed as its address
                openmp.call_in_team = _IN_TEAM(("GOMP_parallel", openmp))
                return openmp
    return None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="unrolled")

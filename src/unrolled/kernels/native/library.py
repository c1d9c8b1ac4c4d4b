"""The compiled kernel: which variant suits this processor, and calling it through `ctypes`.

A call lets go of Python's lock, so the threads of a small pool take their own rows of the batch through all time steps
at the same time; they never wait for each other before the end.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

LIBRARIES = Path(__file__).parent / "libraries"
FASTEST_FIRST = (("avx512", 2), ("avx2", 1), ("portable", 0))  # variant, the processor level that it needs
_SIZE, _POINTER = ctypes.c_size_t, ctypes.c_void_p


@cache
def native_library() -> ctypes.CDLL | None:
    """Return the fastest variant that this processor runs, or None where none was built."""
    portable = _open("portable")
    if portable is None:
        return None
    level = portable.lstm_processor_level()
    for name, needed in FASTEST_FIRST:
        if needed <= level and (library := _open(name)) is not None:
            return library
    return None


def native_status() -> str:
    """Say in words which variant is in use, or why there is none."""
    library = native_library()
    if library is None:
        return "not built: there was no C compiler when the package was installed"
    return f"compiled C, {Path(library._name).stem}"


def packed(library: ctypes.CDLL, w_hh: Tensor, transposed: bool) -> Tensor:
    """Return W_hh (H, 4H), or its transpose, in the order in which the kernel reads it."""
    suffix = "_transposed" if transposed else ""
    H = w_hh.shape[0]
    out = w_hh.new_empty(getattr(library, f"lstm_packed{suffix}_size")(H))
    getattr(library, f"lstm_pack{suffix}")(H, pointer(w_hh.contiguous()), pointer(out))
    return out


def pointer(tensor: Tensor | None) -> int | None:
    """Return the address of a tensor's first number; null for none."""
    return None if tensor is None else tensor.data_ptr()


def on_all_rows(rows: int, run: Callable[[int, int], None], least: int = 1) -> None:
    """Call `run(first, last)` on parts of at least `least` rows, one part a thread, and wait for all of them."""
    if rows == 0:
        return
    threads = max(1, min(rows // least, torch.get_num_threads()))
    borders = [rows * k // threads for k in range(threads + 1)]
    parts = list(pairwise(borders))
    others = [_pool(threads - 1).submit(run, *part) for part in parts[1:]] if threads > 1 else []
    run(*parts[0])
    for other in others:
        other.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="unrolled-native")


@cache
def _open(name: str) -> ctypes.CDLL | None:
    path = LIBRARIES / f"{name}.so"
    if not path.is_file():
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None  # built for another system
    for size in (library.lstm_packed_size, library.lstm_packed_transposed_size):
        size.restype, size.argtypes = _SIZE, [_SIZE]
    for pack in (library.lstm_pack, library.lstm_pack_transposed):
        pack.restype, pack.argtypes = None, [_SIZE, _POINTER, _POINTER]
    library.lstm_forward.restype, library.lstm_forward.argtypes = None, [_SIZE] * 5 + [_POINTER] * 8
    library.lstm_backward.restype, library.lstm_backward.argtypes = None, [_SIZE] * 5 + [_POINTER] * 8
    library.lstm_processor_level.restype = ctypes.c_int
    try:
        _declare_decoding(library)
    except AttributeError:
        return None  # built before there was `decode.c`
    return library


def _declare_decoding(library: ctypes.CDLL) -> None:
    for size, arguments in ((library.decode_packed_size, 2), (library.decode_packed_output_size, 2)):
        size.restype, size.argtypes = _SIZE, [_SIZE] * arguments
    library.decode_scratch_size.restype, library.decode_scratch_size.argtypes = _SIZE, [_SIZE]
    for pack in (library.decode_pack, library.decode_pack_output):
        pack.restype, pack.argtypes = None, [_SIZE] * 2 + [_POINTER] * 2
    library.decode_halve.restype, library.decode_halve.argtypes = None, [_SIZE, _POINTER, _POINTER]
    library.decode_step.argtypes = [_POINTER] + [_SIZE] * 3 + [_POINTER] * 5
    library.decode_read.argtypes = [_POINTER, _SIZE] + [_POINTER] * 5
    library.decode_write.argtypes = [_POINTER] * 3 + [_SIZE] * 2 + [ctypes.c_int, _POINTER]
    for call in (library.decode_step, library.decode_read, library.decode_write):
        call.restype = None
    library.decode_choose.restype = ctypes.c_int64
    library.decode_choose.argtypes = [_SIZE, _POINTER, _SIZE] + [_POINTER] * 3 + [ctypes.c_double, _POINTER]

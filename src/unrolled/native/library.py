"""The compiled kernel: which variant suits this processor, and calling it through `ctypes`.

A call lets go of Python's lock, so threads take their own rows of the batch at the same time.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from unrolled.native.team import FLOAT32_ONLY, PARTS

LIBRARIES = Path(__file__).parent / "libraries"
# variant, and the processor level that it needs
FASTEST_FIRST = (("avx512bf16", 3), ("avx512", 2), ("avx2", 1), ("portable", 0))
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


@cache
def _open(name: str) -> ctypes.CDLL | None:
    path = LIBRARIES / f"{name}.so"
    if not path.is_file():
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None  # built for another system
    try:
        for kind in ("float32", "bfloat16"):
            _declare_training(library, kind)
        _declare_decoding(library)
    except AttributeError:
        return None  # built from other C files than these
    library.lstm_processor_level.restype = ctypes.c_int
    library.lstm_vector_length.restype = _SIZE
    return library


def _declare_training(library: ctypes.CDLL, kind: str) -> None:
    """Declare the functions for operands of one kind: the ones that tell sizes, and parts of work for `team_member`."""
    for name, sizes in (
        ("packed_groups", 1),
        ("packed_size", 2),
        ("product_scratch", 1),
        ("transposed_product_scratch", 0),
        ("cross_entropy_logits", 1),
        ("cross_entropy_scratch", 2),
        ("lstm_scratch", 2),
    ):
        function = getattr(library, f"{name}_{kind}")
        function.restype, function.argtypes = _SIZE, [_SIZE] * sizes
    for name in PARTS if kind == "float32" else PARTS.keys() - FLOAT32_ONLY:
        getattr(library, f"{name}_part_{kind}")  # never called from here, but only another version lacks it
    scratch = library.orthogonal_scratch_float32
    scratch.restype, scratch.argtypes = _SIZE, [_SIZE] * 2
    library.team_member.restype, library.team_member.argtypes = None, [_POINTER]


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

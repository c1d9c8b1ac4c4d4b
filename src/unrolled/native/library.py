"""The compiled kernel: which variant suits this processor, and calling it through `ctypes`.

The environment variable UNROLLED_NATIVE pins a variant by its name, or switches all of them off; it is read at every
use. A call releases Python's lock, so threads take their own rows of the batch at the same time.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from unrolled.errors import UserError
from unrolled.native.precisions import DTYPES
from unrolled.native.team import FLOAT32_ONLY, PARTS

LIBRARIES = Path(__file__).parent / "libraries"
# variant, and the processor level that it needs
FASTEST_FIRST = (("avx512bf16", 3), ("avx512", 2), ("avx2", 1), ("portable", 0))
PIN, AUTO, OFF = "UNROLLED_NATIVE", "auto", "off"
_SIZE, _POINTER = ctypes.c_size_t, ctypes.c_void_p


def native_library() -> ctypes.CDLL | None:
    """Return the variant in use, or None where none was built or they are switched off.

    It is the fastest one that this processor executes, unless UNROLLED_NATIVE pins another.

    Raises:
        UserError: UNROLLED_NATIVE names a variant that cannot be had here.
    """
    return _chosen(_pin())


def native_variant() -> str | None:
    """Return the name of the variant in use, or None where there is none."""
    library = native_library()
    return None if library is None else Path(library._name).stem


def native_status() -> str:
    """Say in words which variant is in use and whether it is pinned, or why there is none."""
    pin, variant = _pin(), native_variant()
    if pin == OFF:
        return f"switched off by {PIN}={OFF}"
    if variant is None:
        return "not built: there was no C compiler when the package was installed"
    return f"compiled C, {variant}" + ("" if pin == AUTO else f", pinned by {PIN}")


def executable_variants() -> tuple[str, ...]:
    """Return the names of the variants that were built and that this processor executes, the fastest first."""
    portable = _open("portable")
    if portable is None:
        return ()
    level = portable.lstm_processor_level()
    return tuple(name for name, needed in FASTEST_FIRST if needed <= level and _open(name) is not None)


def _pin() -> str:
    return os.environ.get(PIN) or AUTO


@cache
def _chosen(pin: str) -> ctypes.CDLL | None:
    """Return the variant that is pinned; never another one in its place."""
    variants = executable_variants()
    if pin == OFF or (pin == AUTO and not variants):
        return None
    if pin == AUTO:
        return _open(variants[0])
    if pin not in variants:
        raise UserError(
            f"{PIN} is {pin!r}, {_why_not(pin)}; here it can be {', '.join((AUTO, OFF, *variants))}, or unset."
        )
    return _open(pin)


def _why_not(pin: str) -> str:
    if pin not in dict(FASTEST_FIRST):
        return "which is not a variant of the C kernels"
    if _open(pin) is None:
        return "a variant of the C kernels that was not built when the package was installed"
    return "a variant of the C kernels that this processor cannot execute"


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
        for kind in DTYPES:
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

"""Our kernels as benchmarks name them: each by its name, and `native` once more where it trains in bfloat16."""

from __future__ import annotations

from unrolled.errors import UserError
from unrolled.kernels import Kernel, available_kernels, choose_precision
from unrolled.kernels.native import NativeKernel

BFLOAT16 = f"{NativeKernel.name} bfloat16"


def our_kernels(precision: str = "auto") -> dict[str, Kernel]:
    """Return every kernel that runs on this machine, by the name that a table has for it.

    Args:
        precision: `bfloat16` adds native with such operands, `float32` leaves it out, `auto` adds it where training
            would take it: where it is fast, and was found to be right.

    Raises:
        UserError: bfloat16 was asked for, and there is no native kernel here.
    """
    kernels = available_kernels()
    if precision == "bfloat16" and NativeKernel.name not in kernels:
        raise UserError("Bfloat16 is a precision of the kernel native, which is not here; leave out --precision.")
    if NativeKernel.name in kernels and choose_precision(precision, NativeKernel.name, "cpu").precision == "bfloat16":
        kernels[BFLOAT16] = NativeKernel("bfloat16")
    return kernels


def kernel_of(name: str) -> str:
    """Return the kernel's own name, which `training.kernel` takes, for a name of `our_kernels`."""
    return name.split()[0]

"""Our kernels as benchmarks name them: each by its name, and once more with its other precision where it has one."""

from __future__ import annotations

from unrolled.errors import UserError
from unrolled.kernels import Kernel, available_kernels, choose_precision
from unrolled.kernels.native import NativeKernel

BFLOAT16 = f"{NativeKernel.name} bfloat16"


def our_kernels(precision: str = "auto") -> dict[str, Kernel]:
    """Return every kernel that runs on this machine, by the name that a table has for it.

    Args:
        precision: `bfloat16` adds each kernel that has it with such operands, `float32` adds none, `auto` what training
            would choose: another precision where it is fast, and was found to be correct.

    Raises:
        UserError: bfloat16 is requested, and no kernel here has it.
    """
    kernels = available_kernels()
    several = [kernel for kernel in kernels.values() if len(kernel.precisions("cpu")) > 1]
    if precision == "bfloat16" and not any(precision in kernel.precisions("cpu") for kernel in several):
        raise UserError("No kernel here trains in bfloat16; leave out --precision.")
    for kernel in several:
        chosen = choose_precision(precision, kernel, "cpu").precision
        if chosen != kernel.precision:
            kernels[f"{kernel.name} {chosen}"] = kernel.with_precision(chosen)
    return kernels


def kernel_of(name: str) -> str:
    """Return the kernel's own name, which `training.kernel` takes, for a name of `our_kernels`."""
    return name.split()[0]

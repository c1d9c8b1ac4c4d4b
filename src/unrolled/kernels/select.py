"""Which kernel runs, and why."""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.kernels.contract import Kernel
from unrolled.kernels.fused import FusedKernel
from unrolled.kernels.reference import ReferenceKernel


@dataclass(frozen=True)
class KernelChoice:
    """A kernel and the reason for it, in words for the user."""

    kernel: Kernel
    reason: str


def available_kernels() -> dict[str, Kernel]:
    """Return every kernel that runs on this machine, by name."""
    return {kernel.name: kernel for kernel in (ReferenceKernel(), FusedKernel())}


def select_kernel(name: str = "auto") -> KernelChoice:
    """Return the kernel of that name; `auto` takes the fastest.

    Raises:
        ValueError: there is no kernel of that name.
    """
    kernels = available_kernels()
    if name == "auto":
        return KernelChoice(kernels["fused"], "the fastest exact kernel here")
    if name not in kernels:
        raise ValueError(f"no kernel is named {name!r}; there are {', '.join(kernels)}")
    return KernelChoice(kernels[name], "as asked")

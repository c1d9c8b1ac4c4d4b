"""Which kernel runs, and why."""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.kernels.contract import Kernel
from unrolled.kernels.fused import FusedKernel
from unrolled.kernels.native import NativeKernel, native_library, native_status
from unrolled.kernels.reference import ReferenceKernel


@dataclass(frozen=True)
class KernelChoice:
    """A kernel and the reason for it, in words for the user."""

    kernel: Kernel
    reason: str


def available_kernels() -> dict[str, Kernel]:
    """Return every kernel that runs on this machine, by name."""
    kernels: list[Kernel] = [ReferenceKernel(), FusedKernel()]
    if native_library() is not None:
        kernels.append(NativeKernel())
    return {kernel.name: kernel for kernel in kernels}


def select_kernel(name: str = "auto", device_type: str = "cpu") -> KernelChoice:
    """Return the kernel of that name; `auto` takes the fastest for the device, by its kind (cpu, cuda, mps).

    Raises:
        ValueError: there is no kernel of that name.
    """
    kernels = available_kernels()
    if name == "auto" and device_type != "cpu":
        return KernelChoice(kernels["fused"], f"the fastest on {device_type}")
    if name == "auto":
        if "native" in kernels:
            return KernelChoice(kernels["native"], f"the fastest here: {native_status()}")
        return KernelChoice(kernels["fused"], f"the fastest here; native was {native_status()}")
    if name not in kernels:
        raise ValueError(f"no kernel is named {name!r}; there are {', '.join(kernels)}")
    return KernelChoice(kernels[name], "as asked")

"""Which kernel runs, and why.

The one that was asked for, else the one that was measured the fastest on this machine, else the fastest on most.
"""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.kernels.contract import Kernel
from unrolled.kernels.fused import FusedKernel
from unrolled.kernels.native import NativeKernel
from unrolled.kernels.precision import choose_precision
from unrolled.kernels.reference import ReferenceKernel
from unrolled.kernels.stored_choice import read_choice
from unrolled.native import native_library, native_status

MEASURED = "measured the fastest here by `unrolled bench kernels --store`"


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

    On the CPU the fastest is what a measurement on this very machine found, where one was stored and still holds.

    Raises:
        ValueError: there is no kernel of that name.
    """
    kernels = available_kernels()
    if name == "auto" and device_type != "cpu":
        return KernelChoice(kernels["fused"], f"the fastest on {device_type}")
    if name == "auto":
        stored = read_choice()
        if stored is not None and stored.kernel in kernels and not stored.outdated():
            return KernelChoice(kernels[stored.kernel], MEASURED)
        if "native" in kernels:
            return KernelChoice(kernels["native"], f"the fastest here: {native_status()}")
        return KernelChoice(kernels["fused"], f"the fastest here; native was {native_status()}")
    if name not in kernels:
        raise ValueError(f"no kernel is named {name!r}; there are {', '.join(kernels)}")
    return KernelChoice(kernels[name], "as asked")


def explain_kernels() -> dict[str, str]:
    """Return, for the user of this machine, each kernel with why it is here or is not, what `auto` takes, and why."""
    choice = select_kernel()
    return {
        "reference": "available: the equations, differentiated by autograd",
        "fused": "available: the derivative by hand, on any device",
        "native": f"{'available' if native_library() is not None else 'not available'}: {native_status()}",
        "auto": f"{choice.kernel.name}: {choice.reason}",
        "stored_choice": _explain_stored(),
    }


def explain_precision() -> str:
    """Return the precision that training takes on this machine's CPU when it is left to choose, and why."""
    choice = choose_precision("auto", select_kernel().kernel.name, "cpu")
    return f"{choice.precision}: {choice.reason}"


def _explain_stored() -> str:
    stored = read_choice()
    if stored is None:
        return "none; `unrolled bench kernels --store` measures and makes one"
    if stored.kernel not in available_kernels():
        return "ignored: it names a kernel that is not here"
    if changed := stored.outdated():
        return f"{stored.kernel}, ignored: measured with another {', '.join(changed)}"
    return f"{stored.kernel}, measured at the shape {stored.shape}"

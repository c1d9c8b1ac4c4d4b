"""Which kernel runs, and why.

The requested one, else the one measured to be the fastest on this machine, else the one that is fastest on most.
"""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.kernels.contract import Availability, Kernel
from unrolled.kernels.fused import FusedKernel
from unrolled.kernels.native import NativeKernel
from unrolled.kernels.precision import choose_precision
from unrolled.kernels.reference import ReferenceKernel
from unrolled.kernels.stored_choice import read_choice

KERNELS: tuple[type[Kernel], ...] = (ReferenceKernel, FusedKernel, NativeKernel)  # from slow to fast
MEASURED = "measured the fastest here by `unrolled bench kernels --store`"


@dataclass(frozen=True)
class KernelChoice:
    """A kernel and the reason for it, for the user."""

    kernel: Kernel
    reason: str


def available_kernels() -> dict[str, Kernel]:
    """Return every kernel that runs on this machine, by name."""
    return {kind.name: kind() for kind in KERNELS if kind.availability().is_given}


def select_kernel(name: str = "auto", device_type: str = "cpu") -> KernelChoice:
    """Return the kernel of that name; `auto` chooses the fastest for a kind of device: cpu, cuda or mps.

    On the CPU a measurement on this machine decides, if one is stored and still applies.

    Raises:
        ValueError: no kernel has that name.
    """
    kernels = available_kernels()
    if name != "auto" and name not in kernels:
        raise ValueError(f"no kernel is named {name!r}; there are {', '.join(kernels)}")
    if name != "auto":
        return KernelChoice(kernels[name], "as requested")
    stored = read_choice() if device_type == "cpu" else None
    if stored is not None and stored.kernel in kernels and not stored.outdated():
        return KernelChoice(kernels[stored.kernel], MEASURED)
    return _fastest(device_type)


def explain_kernels() -> dict[str, str]:
    """Return each kernel with why it is available here or not, the one that `auto` chooses, and the stored choice."""
    choice = select_kernel()
    return {
        **{kind.name: _explain_availability(kind.availability()) for kind in KERNELS},
        "auto": f"{choice.kernel.name}: {choice.reason}",
        "stored_choice": _explain_stored(),
    }


def kernel_availability(name: str) -> Availability:
    """Return whether the registered kernel of that name is available on this machine, and why."""
    return next(kind for kind in KERNELS if kind.name == name).availability()


def explain_precision() -> str:
    """Return the precision that training chooses on this machine's CPU when left to itself, and why."""
    choice = choose_precision("auto", select_kernel().kernel, "cpu")
    return f"{choice.precision}: {choice.reason}"


def _fastest(device_type: str) -> KernelChoice:
    """Return the fastest available kernel for the device; the reason names a faster one that is not available."""
    missing = ""
    for kind in (kind for kind in reversed(KERNELS) if kind.is_made_for(device_type)):
        here = kind.availability()
        if here.is_given:
            return KernelChoice(kind(), f"the fastest on {device_type}{missing or f': {here.description}'}")
        missing = f"; {kind.name} is {here.description}"
    raise AssertionError("no kernel runs on this device")


def _explain_availability(here: Availability) -> str:
    return f"{'available' if here.is_given else 'not available'}: {here.description}"


def _explain_stored() -> str:
    stored = read_choice()
    if stored is None:
        return "none; `unrolled bench kernels --store` measures and stores one"
    if stored.kernel not in available_kernels():
        return "ignored: it names a kernel that is not available"
    if changed := stored.outdated():
        return f"{stored.kernel}, ignored: measured with another {', '.join(changed)}"
    return f"{stored.kernel}, measured at the shape {stored.shape}"

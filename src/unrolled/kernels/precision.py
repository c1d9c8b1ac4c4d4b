"""Which precision the operands of a training step's products have, and why.

A kernel declares which precisions it has, and any objection to one on this machine; see `Kernel.precisions`. In every
precision, sums, the running cell state, the derivatives of the states and the weights themselves stay float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.kernels.contract import Kernel


@dataclass(frozen=True)
class PrecisionChoice:
    """A precision and the reason for it, for the user."""

    precision: str
    reason: str


class Float32Only:
    """The precisions of a kernel that only has float32; see `Kernel`."""

    precision = "float32"

    def precisions(self, device_type: str) -> tuple[str, ...]:
        """See `Kernel.precisions`."""
        return (self.precision,)

    def objection_to(self, precision: str) -> str | None:
        """See `Kernel.objection_to`."""
        return None

    def with_precision(self, precision: str) -> Float32Only:
        """See `Kernel.with_precision`."""
        if precision != self.precision:
            raise ValueError(f"the precision of this kernel is {self.precision}, not {precision}")
        return self


def choose_precision(requested: str, kernel: Kernel, device_type: str) -> PrecisionChoice:
    """Return the precision of training; `auto` is the kernel's first one without an objection.

    Raises:
        ValueError: the kernel does not have the requested precision on this kind of device; says what to use instead.
    """
    precisions = kernel.precisions(device_type)
    if requested == "auto":
        return _preferred(kernel, precisions)
    if requested not in precisions:
        raise ValueError(
            f"the kernel {kernel.name} does not train in {requested} on {device_type}; "
            f"use --set training.precision={' or '.join(reversed(precisions))}."
        )
    objection = kernel.objection_to(requested)
    return PrecisionChoice(requested, "as requested" if objection is None else f"as requested, although {objection}")


def _preferred(kernel: Kernel, precisions: tuple[str, ...]) -> PrecisionChoice:
    objections = {precision: kernel.objection_to(precision) for precision in precisions[:-1]}
    chosen = next((precision for precision in objections if objections[precision] is None), precisions[-1])
    if len(precisions) == 1:
        return PrecisionChoice(chosen, "the only one of this kernel")
    return PrecisionChoice(chosen, objections[precisions[0]] or "faster on this processor")

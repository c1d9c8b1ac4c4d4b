"""Which precision the operands of a training step's products have, and why.

bfloat16 has the range of float32 and 8 bits of precision. Only operands are rounded to it: weights, states and
derivatives where they are multiplied, and what is kept for the backward pass. Sums, the running cell state, the
derivatives of the states and the weights themselves stay float32 (Kalamkar et al. 2019,
https://arxiv.org/abs/1905.12322).
"""

from __future__ import annotations

from dataclasses import dataclass

from unrolled.kernels.native import NativeKernel
from unrolled.kernels.native.precision import bfloat16_is_fast, bfloat16_is_right
from unrolled.native import native_library, native_variant

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class PrecisionChoice:
    """A precision and the reason for it, in words for the user."""

    precision: str
    reason: str


def choose_precision(asked: str, kernel_name: str, device_type: str) -> PrecisionChoice:
    """Return the precision of training; `auto` is bfloat16 where that is faster and was found to be right.

    Raises:
        ValueError: bfloat16 was asked for, and this kernel or device has none; says how to go on.
    """
    has_both = kernel_name == NativeKernel.name and device_type == "cpu" and native_library() is not None
    if asked == "bfloat16" and not has_both:
        raise ValueError(
            f"bfloat16 is a precision of the kernel native on a CPU, and this is {kernel_name} on {device_type}; "
            "use --set training.precision=float32."
        )
    if asked != "auto":
        slow = asked == "bfloat16" and not bfloat16_is_fast()
        return PrecisionChoice(asked, "as asked" + (", slower than float32 here" if slow else ""))
    if not has_both:
        return PrecisionChoice("float32", "the only one of this kernel")
    if not bfloat16_is_fast():
        return PrecisionChoice(
            "float32", f"the C kernels in use, {native_variant()}, have no instructions for bfloat16"
        )
    if not bfloat16_is_right():
        return PrecisionChoice("float32", "bfloat16 gave other numbers when it was tried on this processor")
    return PrecisionChoice("bfloat16", "faster on this processor")

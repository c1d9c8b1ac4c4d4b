"""Whether products of bfloat16 operands are fast on this processor, and correct: checked against float32 before use.

bfloat16 has the range of float32 and 8 bits of precision. Only operands are rounded to it: weights, states and
derivatives where they are multiplied, and what is kept for the backward pass (Kalamkar et al. 2019,
https://arxiv.org/abs/1905.12322).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from unrolled.kernels.contract import DenseInput, Kernel
from unrolled.native import GATES, native_variant

FAST_VARIANTS = ("avx512bf16",)
LARGEST_DIFFERENCE = 0.03  # relative to float32's largest number; an operand is rounded by up to 1 / 256 of itself
SIZES = 5, 7, 21, 19  # steps, rows, hidden size, input size: not multiples of any vector length


def bfloat16_is_fast() -> bool:
    """Return whether the variant in use multiplies bfloat16 numbers in one instruction."""
    return native_variant() in FAST_VARIANTS


def bfloat16_is_correct(kernel_of: Callable[[str], Kernel]) -> bool:
    """Return whether a small training step gives the numbers of float32, up to the rounding of its operands.

    Args:
        kernel_of: makes the kernel of a precision; checked once in a process for each variant of the C kernels.
    """
    return _variant_is_correct(kernel_of, native_variant())


@cache
def _variant_is_correct(kernel_of: Callable[[str], Kernel], variant: str | None) -> bool:
    """Check the variant in use; its name, `variant`, is what the answer is remembered by."""
    exact, rounded = _step(kernel_of("float32")), _step(kernel_of("bfloat16"))
    return all(
        bool((one - other).abs().max() <= LARGEST_DIFFERENCE * one.abs().max())
        for one, other in zip(exact, rounded, strict=True)
    )


def _step(kernel: Kernel) -> tuple[Tensor, ...]:
    """Return the loss and all derivatives of a layer with a dense input and a softmax."""
    T, B, H, inputs = SIZES
    generator = torch.Generator().manual_seed(1)
    shapes = (T, B, inputs), (inputs, GATES * H), (GATES * H,), (H, GATES * H), (B, H), (B, H), (inputs, H), (inputs,)
    with torch.enable_grad():
        leaves = [(0.5 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]
        x, w_ih, bias, w_hh, h0, c0, *output = leaves
        h, _, _ = kernel.run(DenseInput(x, w_ih, bias), w_hh, h0, c0)
        loss = kernel.summed_cross_entropy(h.flatten(0, 1), *output, torch.arange(T * B) % inputs)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

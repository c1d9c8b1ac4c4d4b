"""Newton-Schulz iteration in C: the nearest orthogonal matrices, for Muon; see `orthogonal.h`.

R: rows, C: columns, N: matrices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.native.library import native_library
from unrolled.native.operands import operands
from unrolled.native.team import cut


def native_orthogonal(matrices: Tensor, iterations: Sequence[tuple[float, float, float]]) -> Tensor | None:
    """Return the nearest matrices (N, R, C) with singular values near 1; None where C is unavailable or slower.

    Each matrix is processed by one thread: with more threads than matrices, PyTorch's products are faster.

    Args:
        matrices: float32, on the CPU, with R <= C.
        iterations: a, b and c of X <- a X + (b X X^T + c (X X^T)^2) X, applied in this order.
    """
    N, R, C = matrices.shape
    is_foreign = matrices.dtype != torch.float32 or matrices.device.type != "cpu"
    if native_library() is None or is_foreign or torch.get_num_threads() > N:
        return None
    kind = operands("float32")
    coefficients, out = torch.tensor(iterations, dtype=torch.float32), torch.empty(N, R, C, dtype=torch.float32)
    each = cut(N, len(iterations) * 2 * R * R * C)
    scratch_bytes = kind.size("orthogonal_scratch", R, C) * kind.dtype.itemsize
    sizes = {"R": R, "C": C, "iterations": len(iterations)}
    arrays = {"matrices": matrices.contiguous(), "coefficients": coefficients, "out": out}
    kind.do("orthogonal", each, **sizes, **arrays, scratch_bytes=scratch_bytes)
    return out

"""What no training step can be faster than on a machine: its matrix products at the best rate that was measured there.

    operations of a step = 2 M (3 sum_k P_k)        M = T B tokens, P_k: weights of a product, each used three times:
                                                    forward, derivative by its input, derivative by its weights

The first layer's input product is left out: over a small vocabulary it is a table, next to nothing.
T: steps, B: rows, V: vocabulary, H: hidden size, L: layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.bench.side_by_side import times_in_turn
from unrolled.native import native_library
from unrolled.native.operands import DTYPES, operands

SIDE = 2048  # of square matrices large enough for a machine's best rate
ROUNDS = 5
KINDS = {dtype: kind for kind, dtype in DTYPES.items()}


def products_in_operations(tokens: int, vocabulary_size: int, hidden_size: int, layers: int) -> int:
    """Return the floating-point operations of a step's matrix products."""
    recurrent = layers * hidden_size * 4 * hidden_size
    between = (layers - 1) * hidden_size * 4 * hidden_size
    return 2 * tokens * 3 * (recurrent + between + vocabulary_size * hidden_size)


@dataclass(frozen=True)
class Rate:
    """The best rate of several ways to multiply, in operations a second, and which reached it at which sizes."""

    operations_per_second: float
    reached_by: str


def product_sizes(tokens: int, vocabulary_size: int, hidden_size: int) -> list[tuple[int, int, int]]:
    """Return the sizes (M, K, N) at which rates are measured: a large square, and products of a whole window."""
    gates = 4 * hidden_size
    window = (tokens, hidden_size, gates), (tokens, gates, hidden_size), (tokens, hidden_size, vocabulary_size)
    return [(SIDE, SIDE, SIDE), *window]


def best_rate(dtype: torch.dtype, sizes: Iterable[tuple[int, int, int]]) -> Rate:
    """Return the best rate that any way to multiply reaches here, with as many threads as PyTorch has.

    No single library will do: MKL, behind `torch.mm`, runs at half of the rate of others on some processors.

    Args:
        dtype: float32 or bfloat16.
        sizes: (M, K, N) of the products to try.
    """
    rates = []
    for M, K, N in sizes:
        seconds = times_in_turn(_ways_to_multiply(dtype, M, K, N), ROUNDS)
        rates += [Rate(2 * M * K * N / min(s), f"{name} at {M} x {K} x {N}") for name, s in seconds.items()]
    return max(rates, key=lambda rate: rate.operations_per_second)


def _ways_to_multiply(dtype: torch.dtype, M: int, K: int, N: int) -> dict[str, Callable[[int], object]]:
    """Return what multiplies (M, K) by (K, N), by name; weights are in the order that each prefers."""
    x, w = torch.ones(M, K, dtype=dtype), torch.ones(K, N, dtype=dtype)
    ways: dict[str, Callable[[int], object]] = {"torch.mm": lambda _: x @ w}
    if torch.backends.mkldnn.is_available():
        theirs = x.to_mkldnn(), w.t().contiguous().to_mkldnn()
        ways["oneDNN"] = lambda _: functional.linear(*theirs)
    if native_library() is not None:
        kind, out = operands(KINDS[dtype]), torch.empty(M, N)
        packed, rows = kind.pack(w.float()), kind.of(x.float())
        ways["native"] = lambda _: kind.product(rows, packed, out=out)
    return ways


def kept_for_backward_bytes(forward: Callable[[], object]) -> int:
    """Return the bytes that autograd keeps between the forward and the backward pass; parameters do not count."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not (tensor.is_leaf and tensor.requires_grad):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    del result
    return sum(kept.values())

"""What no training step can be faster than on a machine: its matrix products at the best rate that was measured there.

    operations of a step = 2 M (3 sum_k P_k)        M = T B tokens, P_k: weights of a product, each used three times:
                                                    forward, derivative by its input, derivative by its weights

The first layer's input product is left out: over a small vocabulary it is a table, next to nothing.
T: steps, B: rows, V: vocabulary, H: hidden size, L: layers.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

SIDE = 2048  # of the square matrices whose product tells a machine's best rate
ROUNDS = 7


def products_in_operations(tokens: int, vocabulary_size: int, hidden_size: int, layers: int) -> int:
    """Return the floating-point operations of a step's matrix products."""
    recurrent = layers * hidden_size * 4 * hidden_size
    between = (layers - 1) * hidden_size * 4 * hidden_size
    return 2 * tokens * 3 * (recurrent + between + vocabulary_size * hidden_size)


def best_rate(dtype: torch.dtype) -> float:
    """Return the best measured rate of large matrix products, in operations a second."""
    one = torch.ones(SIDE, SIDE, dtype=dtype)
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        one @ one
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(seconds)


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

"""The recurrence alone, forward and backward: every kernel on this machine, and torch.nn.LSTM beside them.

Input products are outside for ours (a table of the distinct tokens, as in training a first layer) and inside for
torch.nn.LSTM, which has no way to leave them out.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from unrolled.bench.ours import kernel_of, our_kernels
from unrolled.bench.side_by_side import circumstances, median_ratio, times_in_turn
from unrolled.bench.training import SHAPES, TORCH, Shape, batch
from unrolled.kernels import Kernel, PreActivationTable
from unrolled.training.memory import keep_freed_memory


def measure(shape_name: str, repetitions: int, precision: str = "auto") -> dict[str, Any]:
    """Time forward plus backward of one layer at a shape of `SHAPES`; return medians and ratios.

    `fastest` is a kernel's own name, whichever operands it was the fastest with: those are chosen apart from it.

    Args:
        shape_name: of `SHAPES`.
        repetitions: rounds that count.
        precision: `bfloat16` times native with such operands wherever it runs, `auto` where it is fast.
    """
    shape = SHAPES[shape_name]
    keep_freed_memory()
    ways = {name: _ours(kernel, shape) for name, kernel in our_kernels(precision).items()}
    seconds = times_in_turn({TORCH: _torchs(shape), **ways}, repetitions)
    fastest = kernel_of(min(ways, key=lambda name: statistics.median(seconds[name])))
    return {
        **circumstances(repetitions),
        "shape": {"name": shape_name, **asdict(shape)},
        "fastest": fastest,
        "ways": {
            name: {
                "milliseconds": round(1000 * statistics.median(values), 2),
                "times_torch": round(median_ratio(seconds[TORCH], values), 2),
            }
            for name, values in seconds.items()
        },
    }


def _ours(kernel: Kernel, shape: Shape) -> Callable[[int], object]:
    H, B, generator = shape.hidden_size, shape.batch_size, torch.Generator().manual_seed(1)
    distinct, ids = batch(shape, 0)[0].t().unique(return_inverse=True)
    table = (0.1 * torch.randn(len(distinct), 4 * H, generator=generator)).requires_grad_()
    w_hh = (0.05 * torch.randn(H, 4 * H, generator=generator)).requires_grad_()
    zeros = torch.zeros(B, H)

    def run(_: int) -> object:
        h, _, _ = kernel.run(PreActivationTable(table, ids), w_hh, zeros, zeros)
        return torch.autograd.grad(h.sum(), (table, w_hh))

    return run


def _torchs(shape: Shape) -> Callable[[int], object]:
    lstm = nn.LSTM(shape.embedding_size, shape.hidden_size)
    x = torch.randn(shape.window, shape.batch_size, shape.embedding_size, requires_grad=True)

    def run(_: int) -> object:
        return torch.autograd.grad(lstm(x)[0].sum(), (x, *lstm.parameters()))

    return run

"""The recurrence of an LSTM: one contract, several implementations that compute the same numbers.

`contract` says what a kernel takes and returns, `reference` reads like the equations, `fused` derives the backward
pass by hand, `select` chooses one and can say why.
"""

from unrolled.kernels.contract import GATES, Kernel, KernelInput, Projected, TableLookup, split_gates
from unrolled.kernels.fused import FusedKernel
from unrolled.kernels.reference import ReferenceKernel, lstm_step
from unrolled.kernels.select import KernelChoice, available_kernels, select_kernel

__all__ = [
    "GATES",
    "FusedKernel",
    "Kernel",
    "KernelChoice",
    "KernelInput",
    "Projected",
    "ReferenceKernel",
    "TableLookup",
    "available_kernels",
    "lstm_step",
    "select_kernel",
    "split_gates",
]

"""The recurrence of an LSTM: one contract, several implementations that compute the same numbers.

`contract` defines what a kernel takes and returns; `reference` follows the equations, `fused` has a hand-derived
backward pass, `native` is in C. `select` chooses a kernel and `precision` its precision, each with a reason;
`stored_choice` keeps the kernel that was measured to be the fastest on this machine.
"""

from unrolled.kernels.contract import (
    Availability,
    DenseInput,
    Kernel,
    KernelInput,
    PreActivations,
    PreActivationTable,
    TokenInput,
    split_gates,
)
from unrolled.kernels.fused import FusedKernel
from unrolled.kernels.precision import PrecisionChoice, choose_precision
from unrolled.kernels.reference import ReferenceKernel, lstm_step
from unrolled.kernels.select import (
    KernelChoice,
    available_kernels,
    explain_kernels,
    explain_precision,
    kernel_availability,
    select_kernel,
)
from unrolled.kernels.stored_choice import read_choice, store_choice
from unrolled.native import GATES

__all__ = [
    "GATES",
    "Availability",
    "DenseInput",
    "FusedKernel",
    "Kernel",
    "KernelChoice",
    "KernelInput",
    "PreActivationTable",
    "PreActivations",
    "PrecisionChoice",
    "ReferenceKernel",
    "TokenInput",
    "available_kernels",
    "choose_precision",
    "explain_kernels",
    "explain_precision",
    "kernel_availability",
    "lstm_step",
    "read_choice",
    "select_kernel",
    "split_gates",
    "store_choice",
]

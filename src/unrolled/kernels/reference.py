"""The LSTM equations, one line each; autograd differentiates them.

    i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)       with a = x W_ih + b + h W_hh
    c' = f * c + i * g
    h' = o * tanh(c')

Hochreiter and Schmidhuber 1997 (https://doi.org/10.1162/neco.1997.9.8.1735), forget gate: Gers et al. 2000.
"""

import torch
from torch import Tensor

from unrolled.kernels.contract import Availability, KernelInput, precompute_inputs, split_gates
from unrolled.kernels.precision import Float32Only
from unrolled.kernels.softmax import summed_cross_entropy


def lstm_step(pre_activations: Tensor, w_hh: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Advance one layer by one time step.

    Args:
        pre_activations: those of the input, x W_ih + b, (B, 4H).
        w_hh: recurrent weights, (H, 4H).
        h: hidden state, (B, H).
        c: cell state, (B, H).

    Returns:
        The new hidden state and cell state, (B, H) each.
    """
    a_i, a_f, a_g, a_o = split_gates(pre_activations + h @ w_hh)
    i = torch.sigmoid(a_i)  # what to write
    f = torch.sigmoid(a_f)  # what to keep
    g = torch.tanh(a_g)  # the candidate
    o = torch.sigmoid(a_o)  # what to show
    c = f * c + i * g
    h = o * torch.tanh(c)
    return h, c


class ReferenceKernel(Float32Only):
    """The equations, step by step, differentiated by autograd: slow, readable, the reference for all kernels."""

    name = "reference"

    @staticmethod
    def availability() -> Availability:
        """See `Kernel.availability`."""
        return Availability(True, "the equations, differentiated by autograd")

    @staticmethod
    def is_made_for(device_type: str) -> bool:
        """See `Kernel.is_made_for`."""
        return True

    def run(self, inputs: KernelInput, w_hh: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernel.run`."""
        inputs = precompute_inputs(inputs)
        h, c = h0, c0
        outputs = []
        for t in range(inputs.steps):
            h, c = lstm_step(inputs.step(t), w_hh, h, c)
            outputs.append(h)
        return torch.stack(outputs), h, c

    def summed_cross_entropy(
        self, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float = 1.0
    ) -> Tensor:
        """See `Kernel.summed_cross_entropy`."""
        return summed_cross_entropy(h, weight, bias, targets, scale)

"""One LSTM layer: three parameters, an input product, and a kernel for the recurrence.

    pre-activations = x W_ih + b          (T, B, 4H), one product for all steps
    h, c = kernel(pre-activations, W_hh)

T: steps, B: rows, I: input size, H: hidden size, V: vocabulary. The gates are in the order i f g o.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unrolled.kernels import GATES, DenseInput, Kernel, KernelInput, TokenInput, split_gates
from unrolled.nn.dropout import NO_DROPOUT, Dropout

FORGET_BIAS = 1.0  # remember at first (Gers et al. 2000; Jozefowicz et al. 2015)


class LSTMLayer(nn.Module):
    """An LSTM layer whose recurrence any kernel can run.

    Args:
        input_size: numbers in an input, I.
        hidden_size: numbers in the hidden state, H.
        generator: source of the initial weights.
        initialization: `glorot`, `orthogonal` or `uniform`, see `initialize`; the forget gate's bias starts at 1, the
            others at 0.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator | None = None,
        initialization: str = "glorot",
    ):
        super().__init__()
        self.hidden_size = hidden_size
        self.w_ih = nn.Parameter(initialize(torch.empty(input_size, GATES * hidden_size), initialization, generator))
        self.w_hh = nn.Parameter(initialize(torch.empty(hidden_size, GATES * hidden_size), initialization, generator))
        self.bias = nn.Parameter(torch.zeros(GATES * hidden_size))
        with torch.no_grad():
            self.bias[hidden_size : 2 * hidden_size] = FORGET_BIAS

    def dense_input(self, x: Tensor) -> DenseInput:
        """Return a dense input x (T, B, I) with the layer's input weights."""
        return DenseInput(x, self.w_ih, self.bias)

    def token_input(self, embedding: Tensor, ids: Tensor) -> TokenInput:
        """Return embedded tokens with the layer's input weights: embedding (V, I), ids (T, B)."""
        return TokenInput(embedding, ids, self.w_ih, self.bias)

    def forward(
        self,
        inputs: KernelInput,
        h: Tensor,
        c: Tensor,
        kernel: Kernel,
        dropout: Dropout = NO_DROPOUT,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the layer over a sequence.

        Args:
            inputs: from `dense_input` or `token_input`.
            h: hidden state before the first step, (B, H).
            c: cell state before the first step, (B, H).
            kernel: computes the recurrence.
            dropout: of the layer's output; the recurrence itself is not affected.
            generator: source of all random masks in the layer; without one nothing is dropped.

        Returns:
            Hidden states (T, B, H) after dropout, and the state after the last step: hidden and cell state, (B, H)
            each.
        """
        outputs, h, c = kernel.run(inputs, self.w_hh, h, c)
        return dropout.apply(outputs, generator), h, c


def initialize(weight: Tensor, initialization: str, generator: torch.Generator | None) -> Tensor:
    """Fill the weights of four gates, (I, 4H), and return them.

    glorot: each gate's matrix uniform in +-sqrt(6 / (I + H)) (Glorot and Bengio 2010, equation 16).
    orthogonal: each gate's matrix orthogonal if it is square (Saxe et al. 2014), otherwise as glorot.
    uniform: all uniform in +-1/sqrt(H), like `torch.nn.LSTM`.
    """
    if initialization not in ("glorot", "uniform", "orthogonal"):
        raise ValueError(f"initialization is glorot, orthogonal or uniform, got {initialization!r}")
    inputs, hidden_size = weight.shape[0], weight.shape[1] // GATES
    if initialization == "orthogonal" and inputs == hidden_size:
        for gate in split_gates(weight):
            gate.copy_(nn.init.orthogonal_(torch.empty(inputs, hidden_size), generator=generator))
        return weight
    bound = 1 / math.sqrt(hidden_size) if initialization == "uniform" else math.sqrt(6 / (inputs + hidden_size))
    return weight.uniform_(-bound, bound, generator=generator)

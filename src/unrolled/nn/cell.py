"""The textbook LSTM cell: eight matrices, four biases, four gates. Read this file first.

    i_t = sigmoid(x_t U_i + h_{t-1} W_i + b_i)      the input gate: how much to write
    f_t = sigmoid(x_t U_f + h_{t-1} W_f + b_f)      the forget gate: how much to keep
    g_t =    tanh(x_t U_g + h_{t-1} W_g + b_g)      the candidate: what could be written
    o_t = sigmoid(x_t U_o + h_{t-1} W_o + b_o)      the output gate: how much to show
    c_t = f_t * c_{t-1} + i_t * g_t                 the cell state
    h_t = o_t * tanh(c_t)                           the hidden state

Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; forget gate: Gers et al. 2000.
B: rows, I: input size, H: hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unrolled.kernels import split_gates
from unrolled.nn.layer import LSTMLayer


class LSTMCell(nn.Module):
    """One time step of an LSTM, gate by gate.

    Its parameters are those of an `LSTMLayer` (the eight matrices are stored side by side in two), so a cell and a
    layer with the same `state_dict` compute the same numbers; the layer's kernels are fast versions of this cell,
    unrolled over time.

    Args:
        input_size: numbers in an input, I.
        hidden_size: numbers in the hidden state, H.
        generator: source of the initial weights.
    """

    def __init__(self, input_size: int, hidden_size: int, generator: torch.Generator | None = None):
        super().__init__()
        layer = LSTMLayer(input_size, hidden_size, generator)
        self.w_ih, self.w_hh, self.bias = layer.w_ih, layer.w_hh, layer.bias

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Advance by one step: x (B, I), h and c (B, H) -> new h and c (B, H)."""
        U_i, U_f, U_g, U_o = split_gates(self.w_ih)  # (I, H) each
        W_i, W_f, W_g, W_o = split_gates(self.w_hh)  # (H, H) each
        b_i, b_f, b_g, b_o = split_gates(self.bias)  # (H,) each
        i = torch.sigmoid(x @ U_i + h @ W_i + b_i)
        f = torch.sigmoid(x @ U_f + h @ W_f + b_f)
        g = torch.tanh(x @ U_g + h @ W_g + b_g)
        o = torch.sigmoid(x @ U_o + h @ W_o + b_o)
        c = f * c + i * g
        h = o * torch.tanh(c)
        return h, c

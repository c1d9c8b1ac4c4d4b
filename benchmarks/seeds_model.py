"""The model as the seed project builds it: a matrix for every gate, a Python step for every token."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SeedCell(nn.Module):
    """The seed's LSTM cell: a matrix for the input, one for the hidden state and a bias for each gate."""

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__()
        for gate in "ifgo":
            setattr(self, f"W_{gate}", nn.Parameter(0.05 * torch.randn(embedding_size, hidden_size)))
            setattr(self, f"U_{gate}", nn.Parameter(0.05 * torch.randn(hidden_size, hidden_size)))
            setattr(self, f"b_{gate}", nn.Parameter(torch.zeros(hidden_size)))

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i = torch.sigmoid(x @ self.W_i + h @ self.U_i + self.b_i)
        f = torch.sigmoid(x @ self.W_f + h @ self.U_f + self.b_f)
        g = torch.tanh(x @ self.W_g + h @ self.U_g + self.b_g)
        o = torch.sigmoid(x @ self.W_o + h @ self.U_o + self.b_o)
        c = f * c + i * g
        return o * torch.tanh(c), c


class SeedModel(nn.Module):
    """Embedding, one cell, linear output."""

    def __init__(self, vocabulary_size: int, embedding_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.cell = SeedCell(embedding_size, hidden_size)
        self.output = nn.Linear(hidden_size, vocabulary_size)

    def step(self, token: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read one token of each row: (B,) -> logits (B, V), h and c (B, H)."""
        h, c = self.cell(self.embedding(token), h, c)
        return self.output(h), h, c

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits (B, T, V) of tokens (B, T), the output layer inside the loop over time."""
        h = c = self.output.weight.new_zeros(len(ids), self.hidden_size)
        embedded, logits = self.embedding(ids), []
        for t in range(ids.shape[1]):
            h, c = self.cell(embedded[:, t], h, c)
            logits.append(self.output(h))
        return torch.stack(logits, dim=1)

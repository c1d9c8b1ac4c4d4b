"""The models that ours is measured against, with our weights: a plain PyTorch loop and torch.nn.LSTM.

The plain loop has a matrix for every gate and input, a Python step for every token, and the output layer inside the
loop. All compute the same function, so losses and gradients must agree before anything is timed.

B: rows, T: steps, V: vocabulary, E: embedding size, H: hidden size, L: layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unrolled.nn import LanguageModel


class PlainCell(nn.Module):
    """The plain loop's LSTM cell: a matrix for the input, one for the hidden state and a bias for each gate."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        for gate in "ifgo":
            setattr(self, f"W_{gate}", nn.Parameter(torch.empty(input_size, hidden_size)))
            setattr(self, f"U_{gate}", nn.Parameter(torch.empty(hidden_size, hidden_size)))
            setattr(self, f"b_{gate}", nn.Parameter(torch.empty(hidden_size)))

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Make one step: x (B, I), h and c (B, H) -> the new h and c."""
        i = torch.sigmoid(x @ self.W_i + h @ self.U_i + self.b_i)
        f = torch.sigmoid(x @ self.W_f + h @ self.U_f + self.b_f)
        g = torch.tanh(x @ self.W_g + h @ self.U_g + self.b_g)
        o = torch.sigmoid(x @ self.W_o + h @ self.U_o + self.b_o)
        c = f * c + i * g
        return o * torch.tanh(c), c


class PlainLoopModel(nn.Module):
    """Embedding, cells one above the other, linear output; all of it inside the loop over time."""

    def __init__(self, vocabulary_size: int, embedding_size: int, hidden_size: int, layers: int = 1) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.cells = nn.ModuleList(
            PlainCell(embedding_size if k == 0 else hidden_size, hidden_size) for k in range(layers)
        )
        self.output = nn.Linear(hidden_size, vocabulary_size)

    def step(self, token: Tensor, state: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Read one token of each row: (B,) -> logits (B, V) and each layer's h and c (B, H)."""
        x, after = self.embedding(token), []
        for cell, (h, c) in zip(self.cells, state, strict=True):
            after.append(cell(x, h, c))
            x = after[-1][0]
        return self.output(x), after

    def start(self, rows: int) -> list[tuple[Tensor, Tensor]]:
        """Return each layer's state of zeros."""
        zeros = self.output.weight.new_zeros(rows, self.hidden_size)
        return [(zeros, zeros) for _ in self.cells]

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits (B, T, V) of tokens (B, T)."""
        state, logits = self.start(len(ids)), []
        for t in range(ids.shape[1]):
            step_logits, state = self.step(ids[:, t], state)
            logits.append(step_logits)
        return torch.stack(logits, dim=1)


class TorchModel(nn.Module):
    """Embedding, torch.nn.LSTM, linear output."""

    def __init__(self, vocabulary_size: int, embedding_size: int, hidden_size: int, layers: int = 1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.lstm = nn.LSTM(embedding_size, hidden_size, layers, batch_first=True)
        self.output = nn.Linear(hidden_size, vocabulary_size)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits (B, T, V) of tokens (B, T)."""
        return self.output(self.lstm(self.embedding(ids))[0])


def sizes(ours: LanguageModel) -> tuple[int, int, int, int]:
    """Return V, E, H, L."""
    settings = ours.settings
    return ours.vocabulary_size, settings.embedding_size, settings.hidden_size, settings.layers


@torch.no_grad()
def plain_loop_model(ours: LanguageModel) -> PlainLoopModel:
    """Return the plain loop's model with our weights."""
    model = PlainLoopModel(*sizes(ours))
    for cell, layer in zip(model.cells, ours.layers, strict=True):
        for letter, weight in (("W", layer.w_ih), ("U", layer.w_hh), ("b", layer.bias)):
            for gate, part in zip("ifgo", weight.chunk(4, dim=-1), strict=True):
                getattr(cell, f"{letter}_{gate}").copy_(part)
    return _with_our_embedding_and_output(model, ours)


@torch.no_grad()
def torch_model(ours: LanguageModel) -> TorchModel:
    """Return torch's model with our weights; of its two biases one is ours, the other zero."""
    model = TorchModel(*sizes(ours))
    for k, layer in enumerate(ours.layers):
        parts = {"weight_ih": layer.w_ih.t(), "weight_hh": layer.w_hh.t(), "bias_ih": layer.bias}
        for name, value in {**parts, "bias_hh": torch.zeros_like(layer.bias)}.items():
            getattr(model.lstm, f"{name}_l{k}").copy_(value)
    return _with_our_embedding_and_output(model, ours)


def _with_our_embedding_and_output(
    model: PlainLoopModel | TorchModel, ours: LanguageModel
) -> PlainLoopModel | TorchModel:
    """Copy the embedding and the output layer."""
    model.embedding.weight.copy_(ours.embedding)
    model.output.weight.copy_(ours.output_matrix)
    model.output.bias.copy_(ours.output_bias)
    return model

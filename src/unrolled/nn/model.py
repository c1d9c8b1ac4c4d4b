"""The language model: embedding, LSTM layers, a linear output layer.

    x_t = embedding[token_t]     h_t = LSTM layers(x_t, state)     logits_t = h_t W_out^T + b_out
    p(token_{t+1} | tokens up to t) = softmax(logits_t)

B: rows, T: steps, V: vocabulary, E: embedding size, H: hidden size, L: layers. Outside (B, T, ...), inside (T, B, ...).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.config import ModelSettings
from unrolled.kernels import Kernel, KernelInput, select_kernel
from unrolled.nn.dropout import drop
from unrolled.nn.layer import LSTMLayer
from unrolled.nn.state import State

TIED_BOUND = 0.1
WHOLE = 16  # times as many tokens in a batch as in the vocabulary: looking for the distinct ones would gain nothing


class LanguageModel(nn.Module):
    """A recurrent language model over a vocabulary.

    Args:
        settings: the architecture.
        vocabulary_size: number of tokens, V.
        generator: source of the initial weights.
        kernel: implementation of the recurrence; the fastest one when none is given.
    """

    def __init__(
        self,
        settings: ModelSettings,
        vocabulary_size: int,
        generator: torch.Generator | None = None,
        kernel: Kernel | None = None,
    ):
        super().__init__()
        E, H = settings.embedding_size, settings.hidden_size
        self.settings = settings
        self.vocabulary_size = vocabulary_size
        self.kernel = select_kernel().kernel if kernel is None else kernel
        self.embedding = nn.Parameter(torch.empty(vocabulary_size, E).normal_(generator=generator))
        self.layers = nn.ModuleList(
            LSTMLayer(E if k == 0 else H, H, generator, settings.initialization) for k in range(settings.layers)
        )
        if settings.tying == "tied":
            # The rows are output weights too (Press and Wolf 2017), and those begin small.
            nn.init.uniform_(self.embedding, -TIED_BOUND, TIED_BOUND, generator=generator)
        else:
            bound = 1 / math.sqrt(H)
            self.output_weight = nn.Parameter(
                torch.empty(vocabulary_size, H).uniform_(-bound, bound, generator=generator)
            )
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size))

    @staticmethod
    def shapes(settings: ModelSettings, vocabulary_size: int) -> dict[str, torch.Size]:
        """Return the shape of every weight by name, without allocating any."""
        with torch.device("meta"):
            return {name: t.shape for name, t in LanguageModel(settings, vocabulary_size).state_dict().items()}

    def initial_state(self, rows: int) -> State:
        """Return the state before any token, for `rows` sequences."""
        return State.zeros(len(self.layers), rows, self.settings.hidden_size, self.embedding)

    def forward(
        self, ids: Tensor, state: State | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Predict every next token.

        Args:
            ids: tokens, (B, T).
            state: state before the first of them; zeros when none is given.
            generator: source of the dropout masks; no dropout when none is given.

        Returns:
            Logits (B, T, V) and the state after the last token.
        """
        h, state = self.hidden(ids.t(), state, generator)
        return self.logits(h).transpose(0, 1), state

    def hidden(
        self, ids: Tensor, state: State | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return the top layer's hidden states (T, B, H) for tokens (T, B), and the new state."""
        state = self.initial_state(ids.shape[1]) if state is None else state
        after: list[tuple[Tensor, Tensor]] = []
        below = ids  # what a layer reads: tokens, then hidden states (T, B, H)
        for k, layer in enumerate(self.layers):
            inputs = layer.project(below) if k else self._first_inputs(below, generator)
            h, h_last, c_last = layer(inputs, state.h[k], state.c[k], self.kernel)
            after.append((h_last, c_last))
            below = drop(h, self._dropout_after(k), self.settings.dropout_kind, generator)
        return below, State.stack(after)

    @property
    def output_matrix(self) -> Tensor:
        """The weights of the output layer, (V, H): the embedding where the two are tied."""
        return self.embedding if self.settings.tying == "tied" else self.output_weight

    def logits(self, h: Tensor) -> Tensor:
        """Return the logits (..., V) of hidden states (..., H)."""
        return functional.linear(h, self.output_matrix, self.output_bias)

    def loss_nats(
        self,
        inputs: Tensor,
        targets: Tensor,
        state: State | None = None,
        generator: torch.Generator | None = None,
        share: float = 1.0,
    ) -> tuple[Tensor, State]:
        """Return the summed cross-entropy in nats of targets (B, T) after inputs (B, T), and the new state.

        The sum is multiplied by `share`, what a nat counts: 1 / (B T) makes it the mean.
        """
        h, state = self.hidden(inputs.t(), state, generator)
        end = self.output_matrix, self.output_bias, targets.t().flatten()
        return self.kernel.summed_cross_entropy(h.flatten(0, 1), *end, share), state

    def parameter_count(self) -> int:
        """Return the number of trained numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _first_inputs(self, ids: Tensor, generator: torch.Generator | None) -> KernelInput:
        """Embed every distinct token once, for a table: text repeats its words, so often that is half of the product.

        Dropout of the input differs wherever a token occurs, and a table has one row for all of them.
        """
        first, rate = self.layers[0], self.settings.input_dropout
        if generator is not None and rate > 0:
            embedded = functional.embedding(ids, self.embedding)
            return first.project(drop(embedded, rate, self.settings.dropout_kind, generator))
        if WHOLE * self.vocabulary_size <= ids.numel():
            return first.tabulate(self.embedding, ids)
        distinct, places = ids.unique(return_inverse=True)
        return first.tabulate(functional.embedding(distinct, self.embedding), places)

    def _dropout_after(self, layer: int) -> float:
        settings = self.settings
        is_last = layer == len(self.layers) - 1
        return settings.output_dropout if is_last and settings.output_dropout is not None else settings.dropout

"""The language model: an embedding, LSTM layers, an output layer.

    x_t = embedding[token_t]     h_t = LSTM layers(x_t, state)     logits_t = h_t W_out^T + b_out
    p(token_{t+1} | tokens up to t) = softmax(logits_t)

B: rows, T: steps, V: vocabulary, E: embedding size, H: hidden size, L: layers. Outside (B, T, ...), inside (T, B, ...).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unrolled.config import ModelSettings, RegularizationSettings
from unrolled.kernels import Kernel, select_kernel
from unrolled.nn.dropout import Dropout
from unrolled.nn.embedding import TokenEmbedding
from unrolled.nn.layer import LSTMLayer
from unrolled.nn.output import cross_entropy_of_logits, is_overridden, make_output_layer
from unrolled.nn.state import State

# Names in a run's files, which predate the embedding and the output layer as modules.
SAVED_NAMES = {"embed.weight": "embedding", "output.weight": "output_weight", "output.bias": "output_bias"}


class LanguageModel(nn.Module):
    """A recurrent language model over a vocabulary.

    Args:
        settings: the architecture.
        vocabulary_size: number of tokens, V.
        generator: source of the initial weights.
        kernel: implementation of the recurrence; by default the fastest one.
        regularization: dropout rates, applied where a generator of masks is given; by default none.
    """

    def __init__(
        self,
        settings: ModelSettings,
        vocabulary_size: int,
        generator: torch.Generator | None = None,
        kernel: Kernel | None = None,
        regularization: RegularizationSettings | None = None,
    ):
        super().__init__()
        E, H = settings.embedding_size, settings.hidden_size
        self.settings = settings
        self.regularization = RegularizationSettings() if regularization is None else regularization
        self.vocabulary_size = vocabulary_size
        self.kernel = select_kernel().kernel if kernel is None else kernel
        embed = TokenEmbedding(vocabulary_size, E, generator)
        layers = nn.ModuleList(
            LSTMLayer(E if k == 0 else H, H, generator, settings.initialization) for k in range(settings.layers)
        )
        output = make_output_layer(settings, embed, generator)
        # This order numbers the parameters in a checkpoint's optimizer; they are drawn in the order above.
        self.embed, self.output, self.layers = embed, output, layers

    @staticmethod
    def shapes(settings: ModelSettings, vocabulary_size: int) -> dict[str, torch.Size]:
        """Return the shape of each weight by name, without allocating memory for them."""
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
            state: state before the first of them; zeros by default.
            generator: source of the dropout masks; without one there is no dropout.

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
        below = ids  # input of a layer: tokens, then hidden states (T, B, H)
        for k, layer in enumerate(self.layers):
            inputs = layer.dense_input(below) if k else self.embed(below, layer, self._dropout_of_input(), generator)
            below, h, c = layer(inputs, state.h[k], state.c[k], self.kernel, self._dropout_after(k), generator)
            after.append((h, c))
        return below, State.stack(after)

    @property
    def embedding(self) -> Tensor:
        """The embedding's weights, (V, E)."""
        return self.embed.weight

    @property
    def output_matrix(self) -> Tensor:
        """The weights of the output layer, (V, H): the embedding if the two are tied."""
        return self.output.matrix(self.embedding)

    @property
    def output_bias(self) -> Tensor:
        """The bias of the output layer, (V,)."""
        return self.output.bias

    def logits(self, h: Tensor) -> Tensor:
        """Return the logits (..., V) of hidden states (..., H)."""
        return self.output.logits(h, self.embedding)

    def loss_nats(
        self,
        inputs: Tensor,
        targets: Tensor,
        state: State | None = None,
        generator: torch.Generator | None = None,
        scale: float = 1.0,
    ) -> tuple[Tensor, State]:
        """Return the summed cross-entropy in nats of targets (B, T) after inputs (B, T), and the new state.

        The sum is multiplied by `scale`: 1 / (B T) makes it the mean. A model that overrides `logits` is trained on the
        loss of those logits; otherwise the output layer computes the loss without holding the logits of all tokens.
        """
        h, state = self.hidden(inputs.t(), state, generator)
        h, targets = h.flatten(0, 1), targets.t().flatten()
        if is_overridden(self, LanguageModel, "logits"):
            return cross_entropy_of_logits(self.logits(h), targets, scale), state
        return self.output.summed_cross_entropy(h, targets, self.embedding, self.kernel, scale), state

    def parameter_count(self) -> int:
        """Return the number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def state_dict(self, *arguments: Any, prefix: str = "", **options: Any) -> dict[str, Any]:
        """Return the weights by their names in a run's files."""
        tensors = super().state_dict(*arguments, prefix=prefix, **options)
        for name, saved in SAVED_NAMES.items():
            if prefix + name in tensors:
                tensors[prefix + saved] = tensors.pop(prefix + name)
        return tensors

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Accept the names of `state_dict`; PyTorch calls this before it loads the parts of the model."""
        for name, saved in SAVED_NAMES.items():
            if prefix + saved in state_dict:
                state_dict[prefix + name] = state_dict.pop(prefix + saved)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def _dropout_of_input(self) -> Dropout:
        return Dropout(self.regularization.input_dropout, self.regularization.dropout_kind)

    def _dropout_after(self, layer: int) -> Dropout:
        chosen = self.regularization
        is_last = layer == len(self.layers) - 1
        own = chosen.output_dropout if is_last else None
        return Dropout(chosen.dropout if own is None else own, chosen.dropout_kind)

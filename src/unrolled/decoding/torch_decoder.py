"""Any language model, one token at a time, through its own `forward`: slower than the fast decoders, always correct.

Each row is decoded as a separate batch, because the rounding of a matrix product may depend on the batch, and the text
of a seed must not.

V: vocabulary, B: rows, N: tokens of a text.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from unrolled.decoding.decoder import Support
from unrolled.decoding.weights import has_known_kernel
from unrolled.kernels import available_kernels
from unrolled.nn import LanguageModel


class TorchState(NamedTuple):
    """The state of each row; an immutable value."""

    rows: tuple[Any, ...]  # the model's own state for each row, as a batch of one

    def select(self, rows: Sequence[int]) -> TorchState:
        """Return the state of these rows, in this order; a row may be selected several times."""
        return TorchState(tuple(self.rows[row] for row in rows))


class TorchDecoder:
    """A copy of a model, in float32 on the CPU. Immutable, so threads can share it."""

    name = "torch"
    precisions = ("float32",)

    def __init__(self, model: LanguageModel) -> None:
        """Copy the model with all its parts."""
        self.vocabulary_size = model.vocabulary_size
        self._model = copy.deepcopy(model).to("cpu", torch.float32).eval()
        if has_known_kernel(model):  # the others prepare the weights for many steps at a time
            self._model.kernel = available_kernels()["reference"]

    @staticmethod
    def supports(model: LanguageModel) -> Support:
        """Tell that every language model is supported."""
        return Support(True, "the model's own forward pass")

    def initial_state(self, rows: int) -> TorchState:
        """Return the model's initial state for each row."""
        return TorchState((self._model.initial_state(1),) * rows)

    def step(self, ids: np.ndarray, state: TorchState) -> tuple[np.ndarray, TorchState]:
        """Feed one token to each row; see `NumpyDecoder.step`."""
        if len(ids) != len(state.rows):
            raise ValueError(f"{len(ids)} ids do not fit a state of {len(state.rows)} rows")
        logits, rows = np.empty((len(ids), self.vocabulary_size), np.float32), []
        for row, (token, before) in enumerate(zip(ids, state.rows, strict=True)):
            logits[row], after = self._advance(int(token), before)
            rows.append(after)
        return logits, TorchState(tuple(rows))

    def prefill(self, ids: np.ndarray, state: TorchState) -> tuple[np.ndarray, TorchState]:
        """Feed several tokens to a state of one row; see `NumpyDecoder.prefill`."""
        if len(ids) == 0:
            raise ValueError("a prefill needs at least one token")
        (row,) = state.rows
        for token in ids:
            logits, row = self._advance(int(token), row)
        return logits, TorchState((row,))

    @torch.no_grad()
    def _advance(self, token: int, state: Any) -> tuple[np.ndarray, Any]:
        """Feed one token to one row; return the logits of the next one, (V,), and the model's new state."""
        logits, state = self._model(torch.tensor([[token]], device="cpu"), state)
        return logits[0, -1].numpy().copy(), state

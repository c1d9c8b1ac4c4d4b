"""The contract of a kernel: what it takes and returns.

A kernel runs the recurrent part of one LSTM layer over a sequence (Hochreiter and Schmidhuber 1997, with the forget
gate of Gers et al. 2000). The input's contribution to the pre-activations of the four gates, in parentheses, is
computed first, in one product for all steps:

    a_t = (x_t W_ih + b) + h_{t-1} W_hh          i, f, o = sigmoid(a)    g = tanh(a)
    c_t = f * c_{t-1} + i * g                    h_t = o * tanh(c_t)

T: time steps, B: rows of the batch, H: hidden size, V: rows of a table. The gates are in the order i f g o.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unrolled.native import GATES


@dataclass(frozen=True)
class PreActivations:
    """The input's pre-activations, x W_ih + b, for every step and row."""

    values: Tensor  # (T, B, 4H)

    @property
    def steps(self) -> int:
        """Number of time steps T."""
        return self.values.shape[0]

    def step(self, t: int) -> Tensor:
        """Return the pre-activations of step t, (B, 4H)."""
        return self.values[t]


@dataclass(frozen=True)
class PreActivationTable:
    """Pre-activations of a first layer over few distinct tokens: each token looks up its row of the table.

    The table is embedding W_ih + b, so the tensor (T, B, 4H) is never built.
    """

    table: Tensor  # (V, 4H)
    ids: Tensor  # (T, B), integers

    @property
    def steps(self) -> int:
        """Number of time steps T."""
        return self.ids.shape[0]

    def step(self, t: int) -> Tensor:
        """Return the pre-activations of step t, (B, 4H)."""
        return self.table[self.ids[t]]


@dataclass(frozen=True)
class DenseInput:
    """A layer's input and input weights: the kernel computes x W_ih + b once, before the loop over time."""

    x: Tensor  # (T, B, I)
    w_ih: Tensor  # (I, 4H)
    bias: Tensor  # (4H,)

    def pre_activations(self) -> PreActivations:
        """Return the pre-activations of all steps, from one product."""
        T, B, _ = self.x.shape
        return PreActivations(torch.addmm(self.bias, self.x.flatten(0, 1), self.w_ih).view(T, B, self.w_ih.shape[1]))


@dataclass(frozen=True)
class TokenInput:
    """Tokens, their embedding and a first layer's input weights, for batches in which tokens repeat.

    A kernel turns it into a `PreActivationTable`: one product per row of the embedding, not per token of the batch.
    """

    embedding: Tensor  # (V, I), of the vocabulary or of the tokens that occur
    ids: Tensor  # (T, B), integers: rows of the embedding
    w_ih: Tensor  # (I, 4H)
    bias: Tensor  # (4H,)

    def pre_activation_table(self) -> PreActivationTable:
        """Return the table of pre-activations with the tokens that look them up."""
        return PreActivationTable(torch.addmm(self.bias, self.embedding, self.w_ih), self.ids)


KernelInput = PreActivations | PreActivationTable | DenseInput | TokenInput


def precompute_inputs(inputs: KernelInput) -> PreActivations | PreActivationTable:
    """Return the pre-activations of an input and its weights, from one product for all steps; others as they are."""
    if isinstance(inputs, DenseInput):
        return inputs.pre_activations()
    return inputs.pre_activation_table() if isinstance(inputs, TokenInput) else inputs


@dataclass(frozen=True)
class Availability:
    """Whether a kernel runs on this machine."""

    is_given: bool
    description: str  # what the kernel is or, if it does not run, why; for the user


class Kernel(Protocol):
    """An implementation of the recurrence. All share one weight layout, so a checkpoint fits every kernel."""

    name: str
    precision: str  # of the operands of products while training; a new kernel has float32

    @staticmethod
    def availability() -> Availability:
        """Return whether the kernel runs on this machine, and why."""
        ...

    @staticmethod
    def is_made_for(device_type: str) -> bool:
        """Return whether `auto` may choose the kernel on a kind of device: cpu, cuda or mps."""
        ...

    def precisions(self, device_type: str) -> tuple[str, ...]:
        """Return the precisions that it can train in on a kind of device, the preferred one first, float32 last."""
        ...

    def objection_to(self, precision: str) -> str | None:
        """Return why `auto` does not choose one of those precisions on this machine, or None where it may."""
        ...

    def with_precision(self, precision: str) -> Kernel:
        """Return the kernel in one of its precisions.

        Raises:
            ValueError: the kernel does not have that precision.
        """
        ...

    def run(self, inputs: KernelInput, w_hh: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run one layer over a sequence.

        Args:
            inputs: the input's pre-activations, (T, B, 4H), or a table of them and token ids; or a dense input or
                embedded tokens with the input weights.
            w_hh: recurrent weights, (H, 4H), applied as h W_hh.
            h0: hidden state before the first step, (B, H). Never written to.
            c0: cell state before the first step, (B, H). Never written to.

        Returns:
            All hidden states (T, B, H), and the new state: the last hidden state (B, H) and cell state (B, H).
        """
        ...

    def summed_cross_entropy(
        self, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float = 1.0
    ) -> Tensor:
        """Return the summed cross-entropy in nats, a scalar: output layer, softmax and loss in one.

        Args:
            h: hidden states, (N, H).
            weight: of the output layer, (V, H).
            bias: of the output layer, (V,).
            targets: tokens (N,), or `unrolled.kernels.softmax.IGNORED`.
            scale: factor of the sum. With 1 / N the result is the mean, and the backward pass need not scale anything.
        """
        ...


def split_gates(activations: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Split (..., 4H) into the views i, f, g, o of (..., H)."""
    return torch.chunk(activations, GATES, dim=-1)

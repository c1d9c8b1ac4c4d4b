"""What a checkpoint holds: everything that the next step depends on.

A run restored from a checkpoint computes the same bits as one that was never stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled.data import Batcher
from unrolled.errors import UserError
from unrolled.nn import LanguageModel, State
from unrolled.runs import Checkpoint
from unrolled.training.evaluated_weights import EvaluatedWeights
from unrolled.training.guard import LossGuard
from unrolled.training.optimizers.optimizer import Optimizer
from unrolled.training.progress import Progress


@dataclass
class LoopState:
    """Everything that the next step depends on.

    Attributes:
        dropout: the generator of all masks, on the CPU, so that a run can continue on any device.
        hidden: the model's state, carried from batch to batch; None before the first batch and after a rollback.
    """

    model: LanguageModel
    optimizer: Optimizer
    batcher: Batcher
    dropout: torch.Generator
    guard: LossGuard
    evaluated: EvaluatedWeights
    progress: Progress
    hidden: State | None = None


def snapshot(loop: LoopState, about: dict[str, Any]) -> Checkpoint:
    """Copy the state of the loop into a checkpoint; `about` is stored beside the counters."""
    loop.progress.mean_loss_nats, loop.progress.guarded_steps = loop.guard.mean_nats, loop.guard.steps
    parts = {
        "model": loop.model.state_dict(),
        "optimiser": loop.optimizer.tensors(),  # the spelling in checkpoints; it stays
        "batches": loop.batcher.position(),
        "dropout": {"generator": loop.dropout.get_state()},
        "state": {} if loop.hidden is None else loop.hidden._asdict(),
        "evaluated": loop.evaluated.tensors(),
    }
    tensors = {f"{part}.{name}": t.detach().clone() for part, named in parts.items() for name, t in named.items()}
    return Checkpoint(tensors, {**about, "training": dataclasses.asdict(loop.progress)})


def restore(loop: LoopState, checkpoint: Checkpoint, folder: Path) -> None:
    """Put back everything that `snapshot` copied; `folder` is where the checkpoint was read.

    Raises:
        UserError: the checkpoint does not belong to this run.
    """
    try:
        restore_learned(loop, checkpoint)
        loop.batcher.restore(checkpoint.part("batches"))
        loop.dropout.set_state(checkpoint.part("dropout")["generator"])
        loop.hidden = _hidden_in(checkpoint, loop)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"The checkpoint in {folder} does not fit this run; start from the best weights with --init-from."
        ) from error


def restore_learned(loop: LoopState, checkpoint: Checkpoint) -> None:
    """Put back what was learned: weights, optimizer, counters and the usual loss, but not the place in the text.

    Raises:
        ValueError: a part of it belongs to another run, or weights are not finite.
    """
    weights = checkpoint.part("model")
    if not all_finite(weights.values()):
        raise ValueError("the weights are not finite numbers")
    loop.progress = Progress.from_checkpoint(checkpoint)
    loop.model.load_state_dict(weights)
    loop.optimizer.restore({name: tensor.clone() for name, tensor in checkpoint.part("optimiser").items()})
    loop.evaluated.restore({name: tensor.clone() for name, tensor in checkpoint.part("evaluated").items()})
    loop.guard = LossGuard(loop.guard.factor, loop.progress.mean_loss_nats, loop.progress.guarded_steps)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Tell whether no number in any of these tensors is infinite or NaN."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def _hidden_in(checkpoint: Checkpoint, loop: LoopState) -> State | None:
    part = checkpoint.part("state")
    if not part:
        return None
    device = loop.model.embedding.device
    hidden = State(part["h"].to(device), part["c"].to(device))
    fitting = loop.model.initial_state(loop.batcher.batch_size)
    if (hidden.h.shape, hidden.c.shape) != (fitting.h.shape, fitting.c.shape):
        raise ValueError("the hidden state has another shape")
    return hidden

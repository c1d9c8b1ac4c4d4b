"""The optimiser and its state as plain tensors, so that a checkpoint needs no pickle.

Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980) with decoupled weight decay (Loshchilov and Hutter 2019); at
a weight decay of 0 that is Adam itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unrolled.config import TrainingSettings


def make_optimiser(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimiser of all of the model's parameters."""
    return torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.999), eps=1e-8
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Use this rate from the next step on."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as `<parameter index>.<name>` tensors."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(value) for index, kept in state.items() for name, value in kept.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave.

    Raises:
        ValueError: the tensors are those of another optimiser or another model.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    _check_fits(state, [p for group in optimiser.param_groups for p in group["params"]])
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _check_fits(state: dict[int, dict[str, Tensor]], parameters: list[Tensor]) -> None:
    """PyTorch takes any state and fails, or goes wrong, at the next step."""
    if state and set(state) != set(range(len(parameters))):
        raise ValueError("the optimiser's state is that of other parameters")
    for index, kept in state.items():
        if set(kept) != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError(f"the optimiser's state of parameter {index} is not Adam's")
        if any(kept[name].shape != parameters[index].shape for name in ("exp_avg", "exp_avg_sq")):
            raise ValueError(f"the optimiser's state of parameter {index} has another shape")

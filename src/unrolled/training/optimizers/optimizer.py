"""The optimizers of a model's parameters as one, and their state as plain tensors: a checkpoint needs no pickle.

adam: Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980) with decoupled weight decay (Loshchilov and Hutter
      2019) for every parameter; at a weight decay of 0 that is Adam itself.
muon: `unrolled.training.optimizers.muon` for the layers' matrices, Adam as above for the embedding, the output
      layer and biases.
"""

from __future__ import annotations

import importlib

import torch
from torch import Tensor, nn

from unrolled.config import TrainingSettings
from unrolled.training.optimizers.muon import Muon

STATE = {"adam": {"step", "exp_avg", "exp_avg_sq"}, "muon": {"momentum"}}
FUSED = ("cpu", "cuda", "mps")  # where PyTorch makes Adam's step in one pass over memory, not in ten


def import_optimizers() -> None:
    """Import now what PyTorch's optimizers import at their first use: 800 modules, a second that nothing can stop."""
    importlib.import_module("torch._dynamo")


@torch.no_grad()
def clip_gradients(model: nn.Module, most: float) -> float:
    """Scale all gradients so that their common norm is at most `most`; return what it was (Pascanu et al. 2013).

    As `torch.nn.utils.clip_grad_norm_`, which multiplies them even where nothing is to be clipped.
    """
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]).norm().item()
    if norm > most:
        for gradient in gradients:
            gradient.mul_(most / norm)
    return norm


class Optimizer:
    """Every optimizer of a model, stepping together.

    Args:
        model: the model whose parameters are trained.
        settings: which optimizer, and its rates.
        weight_decay: decoupled weight decay of all parameters.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings, weight_decay: float = 0.0):
        named = dict(model.named_parameters())
        gates = {name for name in named if name.endswith(("w_ih", "w_hh"))} if settings.optimizer == "muon" else set()
        self.parts: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.AdamW(
                [parameter for name, parameter in named.items() if name not in gates],
                lr=settings.learning_rate,
                weight_decay=weight_decay,
                betas=(0.9, settings.adam_beta2),
                eps=1e-8,
                fused=next(model.parameters()).device.type in FUSED,
            )
        }
        if gates:
            self.parts["muon"] = Muon(
                [named[name] for name in sorted(gates)],
                lr=settings.muon_learning_rate,
                momentum=settings.muon_momentum,
                weight_decay=weight_decay,
            )
        self._highest_rates = {name: part.param_groups[0]["lr"] for name, part in self.parts.items()}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts.values():
            part.zero_grad()

    def step(self, lr_scale: float = 1.0) -> None:
        """Make one step at the highest learning rates times `lr_scale`."""
        for name, part in self.parts.items():
            part.param_groups[0]["lr"] = lr_scale * self._highest_rates[name]
            part.step()

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as `<optimizer>.<parameter index>.<name>` tensors."""
        return {
            f"{part}.{index}.{name}": torch.as_tensor(value)
            for part, optimizer in self.parts.items()
            for index, kept in optimizer.state_dict()["state"].items()
            for name, value in kept.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave.

        Raises:
            ValueError: the tensors are those of another optimizer or another model.
        """
        states: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in self.parts}
        for name, tensor in tensors.items():
            part, index, key = name.split(".")
            if part not in states:
                raise ValueError(f"the state of an optimizer named {part} is not this run's")
            states[part].setdefault(int(index), {})[key] = tensor
        if len({bool(state) for state in states.values()}) > 1:
            raise ValueError("the state of an optimizer is missing")
        for name, state in states.items():
            part = self.parts[name]
            _check_fits(name, state, [p for group in part.param_groups for p in group["params"]])
            part.load_state_dict({**part.state_dict(), "state": state})


def _check_fits(part: str, state: dict[int, dict[str, Tensor]], parameters: list[Tensor]) -> None:
    """PyTorch takes any state and fails, or goes wrong, at the next step."""
    if state and set(state) != set(range(len(parameters))):
        raise ValueError(f"the state of {part} is that of other parameters")
    for index, kept in state.items():
        if set(kept) != STATE[part]:
            raise ValueError(f"the state of parameter {index} is not that of {part}")
        if any(kept[name].shape != parameters[index].shape for name in STATE[part] - {"step"}):
            raise ValueError(f"the state of parameter {index} has another shape")

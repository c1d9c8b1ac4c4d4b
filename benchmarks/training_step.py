"""One training step: ours against the way of the seed project and against torch.nn.LSTM, interleaved in one process.

    python benchmarks/training_step.py [--json] [--repetitions 15] [--threads 2]

A step is all of it: embedding, recurrence, softmax, loss, backward pass, clipping, Adam. The seed's way makes a Python
step for every time step, with eight matrix products and the output layer inside. All four start from the same weights
and see the same batches; before anything is timed, their losses and gradients must agree. Shape: the seed's recipe.
Printed: the median of a step in milliseconds, tokens a second, and the median of the ratios within each round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from seeds_model import SeedModel
from side_by_side import median_ratio, run, times_in_turn
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unrolled.config import Settings, make_settings
from unrolled.kernels import available_kernels, select_kernel
from unrolled.nn import LanguageModel
from unrolled.training.memory import keep_freed_memory
from unrolled.training.optimiser import Optimiser

VOCABULARY_SIZE = 90
Loss = Callable[[Tensor, Tensor], Tensor]  # inputs and targets (B, T) -> mean loss in nats


class TorchModel(nn.Module):
    """Embedding, torch.nn.LSTM, linear output."""

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY_SIZE, embedding_size)
        self.lstm = nn.LSTM(embedding_size, hidden_size, batch_first=True)
        self.output = nn.Linear(hidden_size, VOCABULARY_SIZE)

    def forward(self, ids: Tensor) -> Tensor:
        return self.output(self.lstm(self.embedding(ids))[0])


def our_model(settings: Settings, kernel: str) -> LanguageModel:
    """Return our model with the weights that all start from."""
    generator = torch.Generator().manual_seed(1)
    return LanguageModel(settings.model, VOCABULARY_SIZE, generator, select_kernel(kernel).kernel)


@torch.no_grad()
def seeds_model(ours: LanguageModel) -> SeedModel:
    """Return the seed's model with our weights."""
    model = SeedModel(VOCABULARY_SIZE, ours.settings.embedding_size, ours.settings.hidden_size)
    layer = ours.layers[0]
    for letter, weight in (("W", layer.w_ih), ("U", layer.w_hh), ("b", layer.bias)):
        for gate, part in zip("ifgo", weight.chunk(4, dim=-1), strict=True):
            getattr(model.cell, f"{letter}_{gate}").copy_(part)
    return with_our_ends(model, ours)


@torch.no_grad()
def torch_model(ours: LanguageModel) -> TorchModel:
    """Return torch's model with our weights; of its two biases one is ours, the other zero."""
    model = TorchModel(ours.settings.embedding_size, ours.settings.hidden_size)
    layer = ours.layers[0]
    model.lstm.weight_ih_l0.copy_(layer.w_ih.t())
    model.lstm.weight_hh_l0.copy_(layer.w_hh.t())
    model.lstm.bias_ih_l0.copy_(layer.bias)
    model.lstm.bias_hh_l0.zero_()
    return with_our_ends(model, ours)


def with_our_ends(model: SeedModel | TorchModel, ours: LanguageModel) -> SeedModel | TorchModel:
    """Copy the embedding and the output layer."""
    model.embedding.weight.copy_(ours.embedding)
    model.output.weight.copy_(ours.output_weight)
    model.output.bias.copy_(ours.output_bias)
    return model


def loss_of(model: nn.Module) -> Loss:
    """Return the model's mean loss, each model's own way."""
    if isinstance(model, LanguageModel):
        return lambda inputs, targets: model.loss_nats(inputs, targets)[0] / targets.numel()
    return lambda inputs, targets: cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def embedding_of(model: nn.Module) -> Tensor:
    """Return the embedding's weights, the farthest from the loss of all that the models share."""
    return model.embedding if isinstance(model, LanguageModel) else model.embedding.weight


def batch(settings: Settings, number: int) -> tuple[Tensor, Tensor]:
    """Return the inputs and targets (B, T) of a round, the same for every model."""
    rows, window = settings.training.batch_size, settings.training.window
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(VOCABULARY_SIZE, (rows, window + 1), generator=generator)
    return ids[:, :-1], ids[:, 1:]


def check_that_they_agree(models: dict[str, nn.Module], settings: Settings) -> None:
    """Fail unless all compute the same loss and the same gradient of the embedding."""
    inputs, targets = batch(settings, 0)
    results = []
    for model in models.values():
        loss = loss_of(model)(inputs, targets)
        results.append((loss, torch.autograd.grad(loss, embedding_of(model))[0]))
    for name, result in zip(models, results, strict=True):
        torch.testing.assert_close(result, results[0], rtol=1e-4, atol=1e-7, msg=lambda text, n=name: f"{n}: {text}")


def training_step(model: nn.Module, settings: Settings) -> Callable[[int], float]:
    """Return a function that makes one whole step on the batch of a round."""
    optimiser, loss_nats = Optimiser(model, settings.training), loss_of(model)

    def step(number: int) -> float:
        loss = loss_nats(*batch(settings, number))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.training.clip_norm)
        optimiser.step()
        return loss.item()

    return step


def measure(repetitions: int) -> dict[str, Any]:
    """Return each way's median step and its ratios to the seed's and to torch's."""
    settings = make_settings("stories")
    keep_freed_memory()
    ours = {f"ours, {kernel}": our_model(settings, kernel) for kernel in available_kernels()}
    first = next(iter(ours.values()))
    models = {"the seed's way": seeds_model(first), "torch.nn.LSTM": torch_model(first), **ours}
    check_that_they_agree(models, settings)
    seconds = times_in_turn({name: training_step(model, settings) for name, model in models.items()}, repetitions)
    tokens = settings.training.batch_size * settings.training.window
    return {
        "shape": {
            "embedding_size": settings.model.embedding_size,
            "hidden_size": settings.model.hidden_size,
            "window": settings.training.window,
            "batch_size": settings.training.batch_size,
            "vocabulary_size": VOCABULARY_SIZE,
        },
        "ways": {name: summary(values, seconds, tokens) for name, values in seconds.items()},
    }


def summary(values: list[float], seconds: dict[str, list[float]], tokens: int) -> dict[str, float]:
    """Return one way's figures; a ratio above 1 means that it is faster than the other."""
    return {
        "milliseconds_per_step": round(1000 * statistics.median(values), 1),
        "fastest_milliseconds": round(1000 * min(values), 1),
        "tokens_per_second": round(tokens / statistics.median(values)),
        "times_the_seeds_way": round(median_ratio(seconds["the seed's way"], values), 2),
        "times_torch": round(median_ratio(seconds["torch.nn.LSTM"], values), 2),
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    print(", ".join(f"{name} {size}" for name, size in result["shape"].items()))
    print(f"one training step, median (fastest) of {result['repetitions']} repetitions in turn")
    for name, way in result["ways"].items():
        print(
            f"  {name:16} {way['milliseconds_per_step']:8.1f} ms ({way['fastest_milliseconds']:.1f})"
            f" {way['tokens_per_second']:9,} tokens/s"
            f"   {way['times_the_seeds_way']:.2f}x the seed's way   {way['times_torch']:.2f}x torch.nn.LSTM"
        )


if __name__ == "__main__":
    run(__doc__, measure, show)

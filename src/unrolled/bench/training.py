"""One training step: ours against the way of the seed project and against torch.nn.LSTM, interleaved in one process.

A step is all of it: embedding, recurrence, softmax, loss, backward pass, clipping, Adam. The seed's way makes a Python
step for every time step, with eight matrix products a layer and the output layer inside. All start from the same
weights and see the same batches; before anything is timed, their losses and gradients must agree. What cannot be beaten
is told for each kind of operands apart: a way that rounds them to bfloat16 has less to do.

B: rows, T: steps, V: vocabulary.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unrolled.bench.limit import best_rate, kept_for_backward_bytes, products_in_operations
from unrolled.bench.ours import BFLOAT16, our_kernels
from unrolled.bench.rivals import seeds_model, torch_model
from unrolled.bench.side_by_side import circumstances, median_ratio, times_in_turn
from unrolled.bench.waiting import share_of_step, waiting
from unrolled.config import ModelSettings, TrainingSettings
from unrolled.kernels import Kernel
from unrolled.nn import LanguageModel
from unrolled.training.memory import keep_freed_memory
from unrolled.training.optimizers.optimizer import Optimiser, clip_gradients

SEEDS_WAY, TORCH, TORCH_BF16 = "the seed's way", "torch.nn.LSTM", "torch.nn.LSTM, bf16 autocast"
OURS_BF16 = f"ours, {BFLOAT16}"
ROUNDED = TORCH_BF16, OURS_BF16  # ways with bfloat16 operands
Loss = Callable[[Tensor, Tensor], Tensor]  # inputs and targets (B, T) -> mean loss in nats


@dataclass(frozen=True)
class Shape:
    """The sizes of a model and a batch."""

    embedding_size: int
    hidden_size: int
    layers: int
    vocabulary_size: int
    window: int
    batch_size: int


SHAPES = {
    "stories": Shape(64, 256, 1, 90, 128, 64),
    "dialogue": Shape(512, 512, 2, 900, 35, 64),
    "words": Shape(650, 650, 2, 10_000, 35, 32),
}


def measure(shape_name: str, repetitions: int, precision: str = "auto") -> dict[str, Any]:
    """Time every way at a shape of `SHAPES`; return medians, ratios, the share of the limit, and the memory kept.

    Args:
        shape_name: of `SHAPES`.
        repetitions: rounds that count.
        precision: `bfloat16` times native with such operands wherever it runs, `auto` where it is fast.
    """
    shape = SHAPES[shape_name]
    keep_freed_memory()
    ways = ways_to_train(shape, precision)
    _check_that_they_agree(ways, shape)
    steps = {name: training_step(model, loss_nats, shape) for name, (model, loss_nats) in ways.items()}
    seconds = times_in_turn(steps, repetitions)
    limits = _limits_seconds(shape, ways)
    return {
        **circumstances(repetitions),
        "shape": {"name": shape_name, **asdict(shape)},
        "limit_milliseconds": {kind: round(1000 * limit, 1) for kind, limit in limits.items()},
        "kept_bytes_per_layer_row_and_step": _kept(shape, precision),
        "waiting": _waiting(shape_name, shape, seconds),
        "ways": {name: _summary(name, seconds, shape, limits) for name in seconds},
    }


def operands_of(name: str) -> str:
    """Return the kind of the operands of a way's products."""
    return "bfloat16" if name in ROUNDED else "float32"


def _limits_seconds(shape: Shape, names: Iterable[str]) -> dict[str, float]:
    """Return the time of a step's products alone, for each kind of operands that a way has.

    Where the processor is slower with bfloat16 than with float32, what limits a way is the rate of float32.
    """
    tokens = shape.window * shape.batch_size
    operations = products_in_operations(tokens, shape.vocabulary_size, shape.hidden_size, shape.layers)
    rates = {"float32": best_rate(torch.float32)}
    if any(name in ROUNDED for name in names):
        is_fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        rates["bfloat16"] = max(rates["float32"], best_rate(torch.bfloat16) if is_fast else 0.0)
    return {kind: operations / rate for kind, rate in rates.items()}


def ways_to_train(shape: Shape, precision: str = "auto") -> dict[str, tuple[nn.Module, Loss]]:
    """Return each way's model and its mean loss, by name; all with the same weights.

    `precision` says whether native in bfloat16 is one of them, see `our_kernels`.
    """
    ours = {f"ours, {name}": _our_model(shape, kernel) for name, kernel in our_kernels(precision).items()}
    first = next(iter(ours.values()))
    rivals: dict[str, nn.Module] = {SEEDS_WAY: seeds_model(first), TORCH: torch_model(first)}
    ways: dict[str, tuple[nn.Module, Loss]] = {name: (model, _rivals_loss(model)) for name, model in rivals.items()}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        model = torch_model(first)
        ways[TORCH_BF16] = model, _rivals_loss(model, torch.autocast("cpu", torch.bfloat16))
    return ways | {name: (model, _our_loss(model)) for name, model in ours.items()}


def _our_model(shape: Shape, kernel: Kernel) -> LanguageModel:
    """Return our model with the weights that all start from."""
    settings = ModelSettings(embedding_size=shape.embedding_size, hidden_size=shape.hidden_size, layers=shape.layers)
    generator = torch.Generator().manual_seed(1)
    return LanguageModel(settings, shape.vocabulary_size, generator, kernel)


def _our_loss(model: LanguageModel) -> Loss:
    return lambda inputs, targets: model.loss_nats(inputs, targets, scale=1 / targets.numel())[0]


def _rivals_loss(model: nn.Module, context: Any = None) -> Loss:
    def loss_nats(inputs: Tensor, targets: Tensor) -> Tensor:
        with contextlib.nullcontext() if context is None else context:
            return cross_entropy(model(inputs).flatten(0, 1).float(), targets.flatten())

    return loss_nats


@functools.lru_cache(maxsize=2)
def batch(shape: Shape, number: int) -> tuple[Tensor, Tensor]:
    """Return the inputs and targets (B, T) of a round, the same for every model.

    Tokens are as frequent as in text: the k-th has a probability proportional to 1 / k (Zipf 1949). The 1,120 tokens
    of a batch at the words' shape are then some 560 distinct ones; in the Penn Treebank they are 526.
    """
    generator = torch.Generator().manual_seed(number)
    frequencies = 1 / torch.arange(1, shape.vocabulary_size + 1)
    count = shape.batch_size * (shape.window + 1)
    ids = torch.multinomial(frequencies, count, replacement=True, generator=generator).view(shape.batch_size, -1)
    return ids[:, :-1], ids[:, 1:]


def _check_that_they_agree(ways: dict[str, tuple[nn.Module, Loss]], shape: Shape) -> None:
    """Fail unless all compute the same loss and the same gradient of the embedding, the farthest from the loss."""
    results = {}
    for name, (model, loss_nats) in ways.items():
        embedding = model.embedding if isinstance(model, LanguageModel) else model.embedding.weight
        loss = loss_nats(*batch(shape, 0))
        results[name] = loss, torch.autograd.grad(loss, embedding)[0]
    expected = results[TORCH]
    for name, result in results.items():
        rtol, atol = (0.2, 1e-4) if name in ROUNDED else (1e-3, 1e-7)
        torch.testing.assert_close(result, expected, rtol=rtol, atol=atol, msg=lambda text, n=name: f"{n}: {text}")


def training_step(model: nn.Module, loss_nats: Loss, shape: Shape) -> Callable[[int], float]:
    """Return a function that makes one whole step on the batch of a round."""
    settings = TrainingSettings()
    optimiser = Optimiser(model, settings)

    def step(number: int) -> float:
        loss = loss_nats(*batch(shape, number))
        optimiser.zero_grad()
        loss.backward()
        clip_gradients(model, settings.clip_norm)
        optimiser.step()
        return loss.item()

    return step


def _waiting(shape_name: str, shape: Shape, seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return what encoding and batching take, and their share of a step of the fastest of ours."""
    kind = "character" if shape_name == "stories" else "word"
    milliseconds = waiting(kind, shape.batch_size, shape.window)
    fastest = min(statistics.median(values) for name, values in seconds.items() if name.startswith("ours"))
    return {**milliseconds, "share_of_step": round(share_of_step(milliseconds, fastest), 5)}


def _kept(shape: Shape, precision: str) -> dict[str, float]:
    """Return the bytes that each of our kernels keeps of a layer, by row and time step, for the backward pass."""
    ids, _ = batch(shape, 0)
    kept = {}
    for name, kernel in our_kernels(precision).items():
        ours = _our_model(shape, kernel)
        total = kept_for_backward_bytes(lambda model=ours: model.hidden(ids.t()))
        kept[name] = round(total / (shape.layers * shape.batch_size * shape.window), 1)
    return kept


def _summary(
    name: str, seconds: dict[str, list[float]], shape: Shape, limits: dict[str, float]
) -> dict[str, float | str]:
    """Return one way's figures; a ratio above 1 means that it is faster than the other."""
    ratios = {"times_the_seeds_way": SEEDS_WAY, "times_torch": TORCH, "times_torch_bf16": TORCH_BF16}
    values, tokens, operands = seconds[name], shape.window * shape.batch_size, operands_of(name)
    return {
        "operands": operands,
        "milliseconds_per_step": round(1000 * statistics.median(values), 1),
        "fastest_milliseconds": round(1000 * min(values), 1),
        "tokens_per_second": round(tokens / statistics.median(values)),
        "share_of_the_limit": round(limits[operands] / statistics.median(values), 2),
        **{key: round(median_ratio(seconds[rival], values), 2) for key, rival in ratios.items() if rival in seconds},
    }

"""One training step: ours against a plain PyTorch loop and against torch.nn.LSTM, taking turns in one process.

A step is all of it: embedding, recurrence, softmax, loss, backward pass, clipping, Adam. The plain loop makes a Python
step for every time step, with eight matrix products a layer and the output layer inside. All start from the same
weights and see the same batches; their losses and gradients must agree before anything is timed. The limit is measured
for each kind of operands: a step with operands rounded to bfloat16 has less to do.

torch.nn.LSTM is timed twice: tuned, in this process, in which freed memory is kept for the next step, as it is for
ours; and in a process of its own with PyTorch's defaults.

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

from unrolled.bench.limit import Rate, best_rate, kept_for_backward_bytes, product_sizes, products_in_operations
from unrolled.bench.ours import BFLOAT16, our_kernels
from unrolled.bench.rivals import plain_loop_model, torch_model
from unrolled.bench.side_by_side import circumstances, median_ratio, times_in_turn
from unrolled.bench.torch_by_default import TorchByDefault
from unrolled.bench.waiting import share_of_step, waiting
from unrolled.config import ModelSettings, TrainingSettings
from unrolled.kernels import Kernel
from unrolled.nn import LanguageModel
from unrolled.training.memory import keep_freed_memory
from unrolled.training.optimizers.optimizer import Optimizer, clip_gradients

PLAIN_LOOP, TORCH, TORCH_BF16 = "plain PyTorch loop", "torch.nn.LSTM, tuned", "torch.nn.LSTM, bf16 autocast"
TORCH_DEFAULT = "torch.nn.LSTM, default"
OURS_BF16 = f"ours, {BFLOAT16}"
ROUNDED = TORCH_BF16, OURS_BF16  # ways with bfloat16 operands
Loss = Callable[[Tensor, Tensor], Tensor]  # inputs and targets (B, T) -> mean loss in nats


@dataclass(frozen=True)
class Limit:
    """The time of a step that none is faster than, and what it was measured by."""

    seconds: float
    measured_by: str


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
    with TorchByDefault(shape) as by_default:
        _check_the_loss(by_default.first_loss_nats, ways, shape)
        seconds = times_in_turn(_behind_the_tuned({**steps, TORCH_DEFAULT: by_default.step}), repetitions)
    limits = _lowered_to_what_was_reached(_limits(shape, ways), seconds)
    return {
        **circumstances(repetitions),
        "shape": {"name": shape_name, **asdict(shape)},
        "limit_milliseconds": {kind: round(1000 * limit.seconds, 1) for kind, limit in limits.items()},
        "limit_measured_by": {kind: limit.measured_by for kind, limit in limits.items()},
        "kept_bytes_per_layer_row_and_step": _kept(shape, precision),
        "waiting": _waiting(shape_name, shape, seconds),
        "ways": {name: _summary(name, seconds, shape, limits) for name in seconds},
    }


def operands_of(name: str) -> str:
    """Return the kind of the operands of a way's products."""
    return "bfloat16" if name in ROUNDED else "float32"


def _behind_the_tuned(steps: dict[str, Callable[[int], float]]) -> dict[str, Callable[[int], float]]:
    """Put torch.nn.LSTM by default behind the tuned one, as tables show them."""
    names = [name for name in steps if name != TORCH_DEFAULT]
    names.insert(names.index(TORCH) + 1, TORCH_DEFAULT)
    return {name: steps[name] for name in names}


def _limits(shape: Shape, names: Iterable[str]) -> dict[str, Limit]:
    """Return the time of a step's products alone, for each kind of operands that a way has.

    Where the processor is slower with bfloat16 than with float32, what limits a way is the rate of float32.
    """
    tokens = shape.window * shape.batch_size
    operations = products_in_operations(tokens, shape.vocabulary_size, shape.hidden_size, shape.layers)
    sizes = product_sizes(tokens, shape.vocabulary_size, shape.hidden_size)
    rates = {"float32": best_rate(torch.float32, sizes)}
    if any(name in ROUNDED for name in names):
        is_fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        rounded = best_rate(torch.bfloat16, sizes) if is_fast else Rate(0.0, "")
        rates["bfloat16"] = max(rates["float32"], rounded, key=lambda rate: rate.operations_per_second)
    return {kind: Limit(operations / rate.operations_per_second, rate.reached_by) for kind, rate in rates.items()}


def _lowered_to_what_was_reached(limits: dict[str, Limit], seconds: dict[str, list[float]]) -> dict[str, Limit]:
    """Return the limits, each lowered to the fastest step of a way with such operands, or with float32 ones.

    Where a way is faster than products at the best rate that was measured, the machine is faster than that rate.
    """
    lowered = {}
    for kind, limit in limits.items():
        as_fast = [Limit(min(s), f"a step of {name}") for name, s in seconds.items() if operands_of(name) == kind]
        lowered[kind] = min(limit, *as_fast, *lowered.values(), key=lambda each: each.seconds)
    return lowered


def ways_to_train(shape: Shape, precision: str = "auto") -> dict[str, tuple[nn.Module, Loss]]:
    """Return each way's model and its mean loss, by name; all with the same weights.

    `precision` says whether native in bfloat16 is one of them, see `our_kernels`.
    """
    ours = {f"ours, {name}": our_model(shape, kernel) for name, kernel in our_kernels(precision).items()}
    first = next(iter(ours.values()))
    rivals: dict[str, nn.Module] = {PLAIN_LOOP: plain_loop_model(first), TORCH: torch_model(first)}
    ways: dict[str, tuple[nn.Module, Loss]] = {name: (model, rivals_loss(model)) for name, model in rivals.items()}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        model = torch_model(first)
        ways[TORCH_BF16] = model, rivals_loss(model, torch.autocast("cpu", torch.bfloat16))
    return ways | {name: (model, _our_loss(model)) for name, model in ours.items()}


def our_model(shape: Shape, kernel: Kernel) -> LanguageModel:
    """Return our model with the weights that all start from."""
    settings = ModelSettings(embedding_size=shape.embedding_size, hidden_size=shape.hidden_size, layers=shape.layers)
    generator = torch.Generator().manual_seed(1)
    return LanguageModel(settings, shape.vocabulary_size, generator, kernel)


def _our_loss(model: LanguageModel) -> Loss:
    return lambda inputs, targets: model.loss_nats(inputs, targets, scale=1 / targets.numel())[0]


def rivals_loss(model: nn.Module, context: Any = None) -> Loss:
    """Return the mean loss of a rival, computed within `context`."""

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


def _check_the_loss(loss_nats: float, ways: dict[str, tuple[nn.Module, Loss]], shape: Shape) -> None:
    """Fail unless torch.nn.LSTM in the other process begins with the loss that it has in this one."""
    expected = ways[TORCH][1](*batch(shape, 0)).item()
    torch.testing.assert_close(loss_nats, expected, rtol=1e-3, atol=0, msg=lambda text: f"{TORCH_DEFAULT}: {text}")


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
    optimizer = Optimizer(model, settings)

    def step(number: int) -> float:
        loss = loss_nats(*batch(shape, number))
        optimizer.zero_grad()
        loss.backward()
        clip_gradients(model, settings.clip_norm)
        optimizer.step()
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
        ours = our_model(shape, kernel)
        total = kept_for_backward_bytes(lambda model=ours: model.hidden(ids.t()))
        kept[name] = round(total / (shape.layers * shape.batch_size * shape.window), 1)
    return kept


def _summary(
    name: str, seconds: dict[str, list[float]], shape: Shape, limits: dict[str, Limit]
) -> dict[str, float | str]:
    """Return one way's figures; a ratio above 1 means that it is faster than the other."""
    ratios = {"times_plain_loop": PLAIN_LOOP, "times_torch": TORCH, "times_torch_default": TORCH_DEFAULT}
    ratios["times_torch_bf16"] = TORCH_BF16
    values, tokens, operands = seconds[name], shape.window * shape.batch_size, operands_of(name)
    return {
        "operands": operands,
        "milliseconds_per_step": round(1000 * statistics.median(values), 1),
        "fastest_milliseconds": round(1000 * min(values), 1),
        "tokens_per_second": round(tokens / statistics.median(values)),
        "share_of_the_limit": round(limits[operands].seconds / statistics.median(values), 2),
        **{key: round(median_ratio(seconds[rival], values), 2) for key, rival in ratios.items() if rival in seconds},
    }

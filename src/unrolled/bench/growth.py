"""How the time of a training step grows with each size, and the speed of writing with the number of streams.

One size changes at a time, the others stay as in the stories' shape. The ways that make a Python step for every time
step with autograd behind it (the plain loop's, and our reference) are left out: they would take most of the time.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch

from unrolled.bench.generation import PLAIN, PROMPT, example_tokenizer
from unrolled.bench.side_by_side import circumstances, times_in_turn
from unrolled.bench.training import PLAIN_LOOP, SHAPES, Shape, training_step, ways_to_train
from unrolled.config import ModelSettings
from unrolled.decoding import decoder_of
from unrolled.nn import LanguageModel
from unrolled.sampling import stream
from unrolled.training.memory import keep_freed_memory

LEFT_OUT = (PLAIN_LOOP, "ours, reference")
SIZES = {
    "hidden_size": (64, 128, 256, 512, 768),
    "batch_size": (1, 4, 8, 16, 32, 64, 128, 256),
    "window": (16, 32, 64, 128, 256),
    "layers": (1, 2, 3, 4),
}
STREAMS = (1, 2, 4, 8, 16, 32, 64)


def measure_steps(repetitions: int) -> dict[str, Any]:
    """Return, for each size, its values and the median milliseconds of a step of each way at each of them."""
    keep_freed_memory()
    sizes = {size: _steps_over(size, values, repetitions) for size, values in SIZES.items()}
    return {**circumstances(repetitions), "shape": asdict(SHAPES["stories"]), "sizes": sizes}


def measure_streams(repetitions: int) -> dict[str, Any]:
    """Return the characters a second, all streams together, for each number of streams."""
    shape = SHAPES["stories"]
    ways = {str(count): write for count, write in _writers(shape).items()}
    seconds = times_in_turn(ways, repetitions)
    rates = [round(count * PLAIN.max_tokens / statistics.median(seconds[str(count)])) for count in STREAMS]
    about = {**circumstances(repetitions), "shape": asdict(shape), "characters": PLAIN.max_tokens}
    return {**about, "streams": list(STREAMS), "characters_per_second": rates}


def _steps_over(size: str, values: tuple[int, ...], repetitions: int) -> dict[str, Any]:
    milliseconds: dict[str, list[float]] = {}
    for value in values:
        for name, seconds in _steps_at(replace(SHAPES["stories"], **{size: value}), repetitions).items():
            milliseconds.setdefault(name, []).append(round(1000 * statistics.median(seconds), 3))
    return {"values": list(values), "milliseconds": milliseconds}


def _steps_at(shape: Shape, repetitions: int) -> dict[str, list[float]]:
    ways = {name: way for name, way in ways_to_train(shape).items() if name not in LEFT_OUT}
    steps = {name: training_step(model, loss_nats, shape) for name, (model, loss_nats) in ways.items()}
    return times_in_turn(steps, repetitions)


def _writers(shape: Shape) -> dict[int, Callable[[int], object]]:
    """Return what writes that many streams, with top-k and no penalty."""
    settings = ModelSettings(embedding_size=shape.embedding_size, hidden_size=shape.hidden_size, layers=shape.layers)
    model = LanguageModel(settings, shape.vocabulary_size, torch.Generator().manual_seed(1))
    decoder, tokenizer = decoder_of(model), example_tokenizer(shape.vocabulary_size)

    def writer(count: int) -> Callable[[int], object]:
        def write(number: int) -> object:
            return list(stream(decoder, tokenizer, PROMPT, PLAIN.model_copy(update={"n": count, "seed": number})))

        return write

    return {count: writer(count) for count in STREAMS}

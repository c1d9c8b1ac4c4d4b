"""Generating text: ours against a plain PyTorch loop with the same weights, taking turns in one process.

The plain loop calls PyTorch for each operation: embedding, a cell with eight matrix products, a linear layer, a loop
over the characters to penalise, top-k, softmax, multinomial. Ours is the stream that a user gets: model, processors,
sampling, decoded text and the search for stop strings, once in C and once in numpy, which is used without a compiler.
ONNX Runtime steps the model, with our processors after it, where `onnx` and `onnxruntime` are installed.

Temperature 0.8, top-k 40, and a repetition penalty of 1.1 over the last 200 characters or none. Streams together are
compared with the plain PyTorch loop writing them one after another.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from unrolled.bench.onnx_decoder import OnnxDecoder
from unrolled.bench.rivals import PlainLoopModel, plain_loop_model
from unrolled.bench.side_by_side import circumstances, median_ratio, times_in_turn
from unrolled.bench.training import SHAPES, Shape
from unrolled.config import ModelSettings, SamplingSettings
from unrolled.decoding import Decoder, NativeDecoder, NumpyDecoder, weights_of
from unrolled.native import native_library
from unrolled.nn import LanguageModel
from unrolled.sampling import stream
from unrolled.text.characters import CharacterTokenizer

CHARACTERS = 300  # a stream, a repetition
STREAMS = 64
PROMPT = "once upon a time there was "
LONG_PROMPT = (PROMPT * 8)[:200]
PLAIN = SamplingSettings(max_tokens=CHARACTERS, temperature=0.8, top_k=40)
PENALISED = PLAIN.model_copy(update={"repetition_penalty": 1.1, "repetition_window": 200})
PLAIN_LOOP, ONNX = "plain PyTorch loop", "onnxruntime"
NATIVE, NATIVE_BF16, IN_NUMPY = "ours, native", "ours, native bf16", "ours, numpy"
Way = Callable[[int], object]  # does a round's work


def measure(shape_name: str, repetitions: int) -> dict[str, Any]:
    """Time every way at a shape of `SHAPES`; return medians and ratios to the plain PyTorch loop by case."""
    shape = SHAPES[shape_name]
    model = _model(shape)
    decoders, plain = _decoders(model), plain_loop_model(model)
    for name, decoder in decoders.items():
        check_same_model(plain, decoder, 1e-2 if name == NATIVE_BF16 else 1e-5)
    return {
        **circumstances(repetitions),
        "shape": {"name": shape_name, **asdict(shape)},
        "numpy": np.__version__,
        "characters": CHARACTERS,
        "cases": {name: _case(decoders, plain, *case, repetitions) for name, case in _cases().items()},
    }


def _model(shape: Shape) -> LanguageModel:
    settings = ModelSettings(embedding_size=shape.embedding_size, hidden_size=shape.hidden_size, layers=shape.layers)
    return LanguageModel(settings, shape.vocabulary_size, torch.Generator().manual_seed(1))


def _cases() -> dict[str, tuple[SamplingSettings, str, int]]:
    """Return the settings, the prompt, and the characters by which the time is divided, by the case's name."""
    together = {"n": STREAMS}
    return {
        "one stream, repetition penalty": (PENALISED, PROMPT, CHARACTERS),
        "one stream": (PLAIN, PROMPT, CHARACTERS),
        f"{STREAMS} streams, repetition penalty": (PENALISED.model_copy(update=together), PROMPT, CHARACTERS * STREAMS),
        f"{STREAMS} streams": (PLAIN.model_copy(update=together), PROMPT, CHARACTERS * STREAMS),
        "first character after 200": (PLAIN.model_copy(update={"max_tokens": 1}), LONG_PROMPT, 1),
    }


def _decoders(model: LanguageModel) -> dict[str, Decoder]:
    """Return every way to step the model that there is here, by name."""
    weights = weights_of(model)
    decoders: dict[str, Decoder] = {IN_NUMPY: NumpyDecoder(*weights)}
    if native_library() is not None:
        decoders[NATIVE] = NativeDecoder(*weights)
        decoders[NATIVE_BF16] = NativeDecoder(*weights, precision="bfloat16")
    with contextlib.suppress(ImportError):  # a rival that only some machines have
        if len(model.layers) == 1:
            decoders[ONNX] = OnnxDecoder(*weights)
    return decoders


def _case(
    decoders: dict[str, Decoder],
    plain: PlainLoopModel,
    settings: SamplingSettings,
    prompt: str,
    characters: int,
    repetitions: int,
) -> dict[str, dict[str, float]]:
    """Time all ways of one case in turn; the plain PyTorch loop writes one stream, which stands for each of several."""
    tokenizer = example_tokenizer(plain.output.out_features)

    def ours(decoder: Decoder) -> Way:
        return lambda number: list(stream(decoder, tokenizer, prompt, settings.model_copy(update={"seed": number})))

    ways: dict[str, Way] = {name: ours(decoder) for name, decoder in decoders.items()}

    def plain_loop(number: int) -> str:
        torch.manual_seed(number)  # ours draws without PyTorch
        return generate_with_plain_loop(plain, tokenizer, prompt, settings)

    ways[PLAIN_LOOP] = plain_loop
    seconds = times_in_turn(ways, repetitions)
    seconds = {name: [s / characters for s in values] for name, values in seconds.items()}
    seconds[PLAIN_LOOP] = [s * settings.n for s in seconds[PLAIN_LOOP]]
    return {name: _summary(values, seconds[PLAIN_LOOP]) for name, values in seconds.items()}


def _summary(seconds: list[float], plain: list[float]) -> dict[str, float]:
    """Return one way's figures; reading the prompt is part of the time."""
    return {
        "microseconds_per_character": round(statistics.median(seconds) * 1e6, 1),
        "fastest": round(min(seconds) * 1e6, 1),
        "times_plain_loop": round(median_ratio(plain, seconds), 2),
    }


@torch.no_grad()
def generate_with_plain_loop(
    model: PlainLoopModel, tokenizer: CharacterTokenizer, prompt: str, settings: SamplingSettings
) -> str:
    """Continue the prompt as a plain PyTorch loop does."""
    stoi = {character: index for index, character in enumerate(tokenizer.itos)}
    state, text = model.start(1), prompt
    for character in prompt:
        logits, state = model.step(torch.tensor([stoi[character]]), state)
    for _ in range(settings.max_tokens):
        scores = logits[0].clone()
        penalised = set(text[-settings.repetition_window :]) if settings.repetition_penalty != 1 else set()
        for character in penalised:
            index = stoi[character]
            score = scores[index]
            scores[index] = score / settings.repetition_penalty if score > 0 else score * settings.repetition_penalty
        values, indices = torch.topk(scores / settings.temperature, settings.top_k)
        choice = torch.multinomial(torch.softmax(values, dim=-1), 1)
        token = indices[choice].item()
        text += tokenizer.itos[token]
        logits, state = model.step(torch.tensor([token]), state)
    return text


def example_tokenizer(vocabulary_size: int) -> CharacterTokenizer:
    """Return a tokenizer of that size that knows the prompt."""
    return CharacterTokenizer.from_characters(chr(ord(" ") + index) for index in range(vocabulary_size - 1))


@torch.no_grad()
def check_same_model(model: PlainLoopModel, decoder: Decoder, allowed: float) -> None:
    """Fail unless both compute the same logits, up to the rounding of their precision."""
    state, ours = model.start(1), decoder.initial_state(1)
    for token in (3, 1, 4, 1, 5):
        expected, state = model.step(torch.tensor([token]), state)
        logits, ours = decoder.step(np.array([token]), ours)
        np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=allowed)


def show(result: dict[str, Any]) -> list[str]:
    """Return the figures as lines for people."""
    lines = ["microseconds a character, median (fastest), and how many times the plain PyTorch loop takes as long"]
    for case, ways in result["cases"].items():
        lines.append(case)
        lines += [
            f"  {name:18} {way['microseconds_per_character']:8.1f} ({way['fastest']:.1f})"
            f"  {way['times_plain_loop']:7.2f}x"
            for name, way in ways.items()
        ]
    return lines

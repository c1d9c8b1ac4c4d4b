"""Writing text, one stream: ours against the way of the seed project, the same weights, interleaved in one process.

    python benchmarks/generation.py [--json] [--repetitions 15] [--threads 1]

The seed's way calls PyTorch for each small thing: embedding, a cell with eight matrix products, a linear layer, a loop
over the characters to penalise, top-k, softmax, multinomial. Ours is the stream a user gets: numpy step, processors,
one draw, decoded text and the search for stop strings. Shape: embedding 64, hidden 256, 90 tokens; temperature 0.8,
top-k 40, and a repetition penalty of 1.1 over the last 200 characters or none. Printed: medians in microseconds a
character, and the median of their ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.config import SamplingSettings
from unrolled.sampling import NumpyDecoder, stream
from unrolled.text.characters import CharacterTokenizer

EMBEDDING_SIZE, HIDDEN_SIZE, VOCABULARY_SIZE = 64, 256, 90
CHARACTERS = 300  # a repetition
PROMPT = "once upon a time there was "
PLAIN = SamplingSettings(max_tokens=CHARACTERS, temperature=0.8, top_k=40)
CASES = {
    "with repetition penalty": PLAIN.model_copy(update={"repetition_penalty": 1.1, "repetition_window": 200}),
    "without": PLAIN,
}


class SeedCell(nn.Module):
    """The seed's LSTM cell: a matrix for the input, one for the hidden state and a bias for each gate."""

    def __init__(self) -> None:
        super().__init__()
        for gate in "ifgo":
            setattr(self, f"W_{gate}", nn.Parameter(0.05 * torch.randn(EMBEDDING_SIZE, HIDDEN_SIZE)))
            setattr(self, f"U_{gate}", nn.Parameter(0.05 * torch.randn(HIDDEN_SIZE, HIDDEN_SIZE)))
            setattr(self, f"b_{gate}", nn.Parameter(torch.zeros(HIDDEN_SIZE)))

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i = torch.sigmoid(x @ self.W_i + h @ self.U_i + self.b_i)
        f = torch.sigmoid(x @ self.W_f + h @ self.U_f + self.b_f)
        g = torch.tanh(x @ self.W_g + h @ self.U_g + self.b_g)
        o = torch.sigmoid(x @ self.W_o + h @ self.U_o + self.b_o)
        c = f * c + i * g
        return o * torch.tanh(c), c


class SeedModel(nn.Module):
    """Embedding, one cell, linear output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY_SIZE, EMBEDDING_SIZE)
        self.cell = SeedCell()
        self.output = nn.Linear(HIDDEN_SIZE, VOCABULARY_SIZE)

    def forward(self, token: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, c = self.cell(self.embedding(token), h, c)
        return self.output(h), h, c


@torch.no_grad()
def write_the_seeds_way(model: SeedModel, tokenizer: CharacterTokenizer, settings: SamplingSettings) -> str:
    """Continue the prompt as the seed project does."""
    stoi = {character: index for index, character in enumerate(tokenizer.itos)}
    h = c = torch.zeros(1, HIDDEN_SIZE)
    text = PROMPT
    for character in PROMPT:
        logits, h, c = model(torch.tensor([stoi[character]]), h, c)
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
        logits, h, c = model(torch.tensor([token]), h, c)
    return text


def as_numpy_decoder(model: SeedModel) -> NumpyDecoder:
    """Return the same model for our stepper."""
    gates = {kind: [getattr(model.cell, f"{kind}_{gate}").detach() for gate in "ifgo"] for kind in "WUb"}
    layer = tuple(torch.cat(gates[kind], dim=-1).numpy() for kind in "WUb")
    weight, bias = model.output.weight.detach().numpy(), model.output.bias.detach().numpy()
    return NumpyDecoder(model.embedding.weight.detach().numpy(), [layer], weight, bias)


def measure(repetitions: int) -> dict[str, object]:
    """Return the medians of both ways for each case, timed in turn, and their ratios."""
    torch.manual_seed(1)
    model = SeedModel()
    decoder, tokenizer = as_numpy_decoder(model), example_tokenizer()
    check_same_model(model, decoder)
    cases = {name: [] for name in CASES}
    for repetition in range(repetitions + 1):
        for name, case in CASES.items():
            settings = case.model_copy(update={"seed": repetition})
            torch.manual_seed(repetition)
            ours = microseconds_a_character(lambda s=settings: list(stream(decoder, tokenizer, PROMPT, s)))
            seeds = microseconds_a_character(lambda s=settings: write_the_seeds_way(model, tokenizer, s))
            cases[name].append((ours, seeds))
    return {
        "machine": machine_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "characters": CHARACTERS,
        "repetitions": repetitions,
        "cases": {name: summary(times[1:]) for name, times in cases.items()},  # the first one warms up
    }


def summary(times: list[tuple[float, float]]) -> dict[str, float]:
    """Return medians and fastest of (ours, seed's) pairs, and the median of the pairs' ratios."""
    ours, seeds = zip(*times, strict=True)
    return {
        "ours_microseconds_per_character": round(statistics.median(ours), 1),
        "seed_microseconds_per_character": round(statistics.median(seeds), 1),
        "ours_fastest": round(min(ours), 1),
        "seed_fastest": round(min(seeds), 1),
        "ratio": round(statistics.median(theirs / own for own, theirs in times), 2),
    }


def example_tokenizer() -> CharacterTokenizer:
    """Return a tokenizer of the benchmark's size that knows the prompt."""
    return CharacterTokenizer.from_characters(chr(ord(" ") + index) for index in range(VOCABULARY_SIZE - 1))


@torch.no_grad()
def check_same_model(model: SeedModel, decoder: NumpyDecoder) -> None:
    """Fail unless both ways compute the same logits."""
    h = c = torch.zeros(1, HIDDEN_SIZE)
    state = decoder.start(1)
    for token in (3, 1, 4, 1, 5):
        expected, h, c = model(torch.tensor([token]), h, c)
        logits, state = decoder.step(np.array([token]), state)
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)


def microseconds_a_character(work: Callable[[], object]) -> float:
    """Time one call that writes CHARACTERS characters; reading the short prompt is part of it."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / CHARACTERS * 1e6


def machine_name() -> str:
    """Return the processor's name and the number of cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0, help="PyTorch's threads; 0: its default")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result = measure(arguments.repetitions)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['machine']}, {result['threads']} threads, torch {result['torch']}, numpy {result['numpy']}")
    print(f"{CHARACTERS} characters, median (fastest) of {arguments.repetitions} repetitions, microseconds a character")
    for name, case in result["cases"].items():
        print(
            f"  {name:24} the seed's way {case['seed_microseconds_per_character']:7.1f} ({case['seed_fastest']:.1f})"
            f"   ours {case['ours_microseconds_per_character']:6.1f} ({case['ours_fastest']:.1f})"
            f"   ratio {case['ratio']:.2f}x"
        )


if __name__ == "__main__":
    main()

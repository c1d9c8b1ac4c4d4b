"""Writing text, one stream: ours against the way of the seed project, the same weights, interleaved in one process.

    python benchmarks/generation.py [--json] [--repetitions 15] [--threads 1]

The seed's way calls PyTorch for each small thing: embedding, a cell with eight matrix products, a linear layer, a loop
over the characters to penalise, top-k, softmax, multinomial. Ours is the stream a user gets: numpy step, processors,
one draw, decoded text and the search for stop strings. Shape: embedding 64, hidden 256, 90 tokens; temperature 0.8,
top-k 40, and a repetition penalty of 1.1 over the last 200 characters or none. Printed: medians in microseconds a
character, and the median of their ratios.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import torch
from seeds_model import SeedModel
from side_by_side import median_ratio, run, times_in_turn

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


@torch.no_grad()
def write_the_seeds_way(model: SeedModel, tokenizer: CharacterTokenizer, settings: SamplingSettings) -> str:
    """Continue the prompt as the seed project does."""
    stoi = {character: index for index, character in enumerate(tokenizer.itos)}
    h = c = torch.zeros(1, HIDDEN_SIZE)
    text = PROMPT
    for character in PROMPT:
        logits, h, c = model.step(torch.tensor([stoi[character]]), h, c)
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
        logits, h, c = model.step(torch.tensor([token]), h, c)
    return text


def as_numpy_decoder(model: SeedModel) -> NumpyDecoder:
    """Return the same model for our stepper."""
    gates = {kind: [getattr(model.cell, f"{kind}_{gate}").detach() for gate in "ifgo"] for kind in "WUb"}
    layer = tuple(torch.cat(gates[kind], dim=-1).numpy() for kind in "WUb")
    weight, bias = model.output.weight.detach().numpy(), model.output.bias.detach().numpy()
    return NumpyDecoder(model.embedding.weight.detach().numpy(), [layer], weight, bias)


def measure(repetitions: int) -> dict[str, Any]:
    """Return the medians of both ways for each case, timed in turn, and their ratios."""
    torch.manual_seed(1)
    model = SeedModel(VOCABULARY_SIZE, EMBEDDING_SIZE, HIDDEN_SIZE)
    decoder, tokenizer = as_numpy_decoder(model), example_tokenizer()
    check_same_model(model, decoder)
    cases = {
        name: times_in_turn(
            {
                "ours": lambda number, c=case: list(stream(decoder, tokenizer, PROMPT, seeded(c, number))),
                "seed": lambda number, c=case: write_the_seeds_way(model, tokenizer, seeded(c, number)),
            },
            repetitions,
        )
        for name, case in CASES.items()
    }
    return {
        "numpy": np.__version__,
        "characters": CHARACTERS,
        "cases": {name: summary(times["ours"], times["seed"]) for name, times in cases.items()},
    }


def seeded(settings: SamplingSettings, number: int) -> SamplingSettings:
    """Seed both ways' generators for a round."""
    torch.manual_seed(number)
    return settings.model_copy(update={"seed": number})


def summary(ours: list[float], seeds: list[float]) -> dict[str, float]:
    """Return medians and fastest of both ways' seconds, and the median of the ratios within each round.

    Reading the short prompt is part of the time.
    """
    return {
        "ours_microseconds_per_character": microseconds_a_character(statistics.median(ours)),
        "seed_microseconds_per_character": microseconds_a_character(statistics.median(seeds)),
        "ours_fastest": microseconds_a_character(min(ours)),
        "seed_fastest": microseconds_a_character(min(seeds)),
        "ratio": round(median_ratio(seeds, ours), 2),
    }


def microseconds_a_character(seconds: float) -> float:
    return round(seconds / CHARACTERS * 1e6, 1)


def example_tokenizer() -> CharacterTokenizer:
    """Return a tokenizer of the benchmark's size that knows the prompt."""
    return CharacterTokenizer.from_characters(chr(ord(" ") + index) for index in range(VOCABULARY_SIZE - 1))


@torch.no_grad()
def check_same_model(model: SeedModel, decoder: NumpyDecoder) -> None:
    """Fail unless both ways compute the same logits."""
    h = c = torch.zeros(1, HIDDEN_SIZE)
    state = decoder.start(1)
    for token in (3, 1, 4, 1, 5):
        expected, h, c = model.step(torch.tensor([token]), h, c)
        logits, state = decoder.step(np.array([token]), state)
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)


def show(result: dict[str, Any]) -> None:
    """Print the figures for people."""
    print(f"{CHARACTERS} characters, median (fastest) of {result['repetitions']} repetitions, microseconds a character")
    for name, case in result["cases"].items():
        print(
            f"  {name:24} the seed's way {case['seed_microseconds_per_character']:7.1f} ({case['seed_fastest']:.1f})"
            f"   ours {case['ours_microseconds_per_character']:6.1f} ({case['ours_fastest']:.1f})"
            f"   ratio {case['ratio']:.2f}x"
        )


if __name__ == "__main__":
    run(__doc__, measure, show)

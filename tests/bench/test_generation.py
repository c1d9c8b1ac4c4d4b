"""The benchmark of writing: every way writes the same model, and the figures are complete."""

from __future__ import annotations

import json

import numpy as np
import pytest

from unrolled.bench import generation
from unrolled.bench.training import Shape
from unrolled.native import native_library


@pytest.fixture
def short(monkeypatch):
    """Make the texts as short as a test wants them."""
    for name in ("PLAIN", "PENALISED"):
        settings = getattr(generation, name).model_copy(update={"max_tokens": 2})
        monkeypatch.setattr(generation, name, settings)
    monkeypatch.setattr(generation, "CHARACTERS", 2)
    monkeypatch.setattr(generation, "STREAMS", 3)
    monkeypatch.setitem(generation.SHAPES, "stories", Shape(5, 16, 1, 90, 3, 2))
    monkeypatch.setitem(generation.SHAPES, "dialogue", Shape(5, 9, 2, 110, 3, 2))


@pytest.mark.parametrize("shape", ["stories", "dialogue"])
def test_every_case_times_every_way_against_the_seeds(short, shape):
    result = generation.measure(shape, 1)
    ways = {generation.PLAIN_LOOP, generation.IN_NUMPY}
    ways |= {generation.NATIVE, generation.NATIVE_BF16} if native_library() is not None else set()
    assert len(result["cases"]) == 5
    for case in result["cases"].values():
        assert set(case) - {generation.ONNX} == ways
        assert case[generation.PLAIN_LOOP]["times_plain_loop"] == 1
        assert all(way["microseconds_per_character"] > 0 for way in case.values())
    lines = generation.show(result)
    assert sum(generation.PLAIN_LOOP in line for line in lines[1:]) == 5


def test_a_way_that_computes_something_else_is_not_timed(short, monkeypatch):
    weights_of = generation.weights_of

    def others(model):
        embedding, layers, output, bias = weights_of(model)
        return embedding, layers, output, bias + np.float32(0.1)

    monkeypatch.setattr(generation, "weights_of", others)
    with pytest.raises(AssertionError, match="Not equal"):
        generation.measure("stories", 1)


def test_the_command_prints_every_case(short, cli):
    done = cli("bench", "generation", "--repetitions", "1")
    assert "64 streams" not in done.out
    assert "3 streams, repetition penalty" in done.out
    assert json.loads(cli("bench", "generation", "--repetitions", "1", "--json").out)["shape"]["hidden_size"] == 16

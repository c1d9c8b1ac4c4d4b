"""Sizes at which a benchmark takes no time."""

import pytest

from unrolled.bench import kernels, training, waiting
from unrolled.bench.training import Shape

TINY = Shape(embedding_size=5, hidden_size=8, layers=2, vocabulary_size=11, window=6, batch_size=3)


@pytest.fixture
def tiny_shape(monkeypatch):
    for module in (training, kernels):
        monkeypatch.setattr(module, "SHAPES", {"stories": TINY})
    monkeypatch.setattr(training, "best_rate", lambda dtype: 1e9)
    monkeypatch.setattr(waiting, "CHARACTERS", 1000)

"""Sizes at which a benchmark takes no time."""

import pytest

from unrolled.bench import kernels, training, waiting
from unrolled.bench.limit import Rate
from unrolled.bench.rivals import torch_model
from unrolled.bench.training import Shape
from unrolled.kernels import ReferenceKernel

TINY = Shape(embedding_size=5, hidden_size=8, layers=2, vocabulary_size=11, window=6, batch_size=3)


class InThisProcess:
    """What `TorchByDefault` does, without waiting for another process."""

    def __init__(self, shape):
        model = torch_model(training.our_model(shape, ReferenceKernel()))
        loss_nats = training.rivals_loss(model)
        self.first_loss_nats = loss_nats(*training.batch(shape, 0)).item()
        self.step = training.training_step(model, loss_nats, shape)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def tiny_shape(monkeypatch):
    for module in (training, kernels):
        monkeypatch.setattr(module, "SHAPES", {"stories": TINY})
    monkeypatch.setattr(training, "best_rate", lambda dtype, sizes: Rate(1e9, "torch.mm"))
    monkeypatch.setattr(training, "TorchByDefault", InThisProcess)
    monkeypatch.setattr(waiting, "CHARACTERS", 1000)

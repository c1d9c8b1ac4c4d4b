"""Small runs, and what they can be compared by."""

import json
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from tests.conftest import TINY
from unrolled.training import start, train

NOT_COMPARED = ("seconds", "tokens_per_second")  # the clock's


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    """Drawing takes longer than training here; the picture has its own tests."""
    monkeypatch.setattr(start, "draw_loss", lambda *arguments: None)


@pytest.fixture
def train_tiny(story, tmp_path):
    """Train a small model: dotted settings, and any argument of `train`."""

    def call(out="run", settings=None, **arguments):
        arguments.setdefault("preset", "stories")  # the plainest: Adam at a constant rate
        return train(
            arguments.pop("sources", story), tmp_path / out, settings={**TINY, **(settings or {})}, **arguments
        )

    return call


@pytest.fixture
def results(tmp_path):
    """Read what a run left: metrics without the clock, best weights, everything in the checkpoint."""

    def read(out="run"):
        folder = tmp_path / out
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return SimpleNamespace(
            folder=folder,
            steps=[line["step"] for line in lines],
            metrics=[{key: value for key, value in line.items() if key not in NOT_COMPARED} for line in lines],
            weights=load_file(folder / "model.safetensors"),
            checkpoint=load_file(folder / "checkpoints" / "last.safetensors"),
        )

    return read

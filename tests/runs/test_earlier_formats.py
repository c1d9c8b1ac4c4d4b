"""Runs that earlier releases wrote are opened, resumed, fine-tuned and served, and give the numbers that they gave."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from unrolled import load
from unrolled.runs import RunFolder, read_metrics
from unrolled.training import resume, start, train
from unrolled.web import create_app

RUNS = sorted(path.parent for path in (Path(__file__).parent / "fixtures").glob("*/*/expected.json"))
COMPARED = ("step", "train_loss_nats", "valid_loss_nats", "learning_rate")


def near(expected):
    """The release that wrote the numbers may have run on another processor, which rounds sums differently."""
    return pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.fixture(params=RUNS, ids=lambda path: f"{path.parent.name}-{path.name}")
def old(request, tmp_path, monkeypatch):
    """A copy of an old run in the working directory, beside its text, and what is expected of it."""
    monkeypatch.setattr(start, "draw_loss", lambda *arguments: None)
    shutil.copytree(request.param, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return SimpleNamespace(**json.loads(Path("expected.json").read_text("utf-8")))


def figures(path):
    return {
        name: {"sum": tensor.sum().item(), "norm": tensor.norm().item(), "first": tensor.flatten()[0].item()}
        for name, tensor in load_file(path).items()
        if not name.startswith(("optimiser.", "batches.", "dropout."))
    }


def assert_run_is(folder, expected):
    metrics = [{key: line[key] for key in COMPARED} for line in read_metrics(folder / "metrics.jsonl")]
    assert len(metrics) == len(expected["metrics"])
    for line, expected_line in zip(metrics, expected["metrics"], strict=True):
        assert line == near(expected_line)
    assert_tensors_are(folder / "model.safetensors", expected["weights"])


def assert_tensors_are(path, expected):
    found = figures(path)
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == near(expected[name]), name


def test_an_old_run_is_read_as_it_was_written(old):
    model = load("run", device="cpu")
    assert model.score(old.sentence).nats == near(tuple(old.score_nats))
    assert model.evaluate("story.txt", split="valid").total_nats == near(old.validation_nats)
    assert {name: model.info()[name] for name in old.info} == old.info
    assert model.generate(old.prompt, temperature=0, max_tokens=12).samples[0].text == old.greedy
    assert model.generate(old.prompt, seed=5, max_tokens=12).samples[0].text == old.sampled_seed_5


def test_reading_an_old_run_leaves_its_files_alone(old):
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    load("run", device="cpu").generate(old.prompt, seed=1, max_tokens=3)
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def test_an_old_run_resumes_to_the_state_that_its_own_release_came_to(old):
    resume("run")
    assert_run_is(Path("run"), old.resumed)
    assert_tensors_are(Path("run/checkpoints/last.safetensors"), old.resumed["checkpoint"])
    assert RunFolder("run").read_config().settings.training.steps == 14
    load("run", device="cpu")  # what resuming wrote is read again


def test_an_old_run_is_fine_tuned_as_by_its_own_release(old):
    train("story.txt", "tuned", preset="stories", settings=old.settings_of_fine_tuning, init_from="run")
    assert_run_is(Path("tuned"), old.fine_tuned)


def test_an_old_run_is_served(old):
    client = create_app([load("run", device="cpu")]).test_client()
    asked = {"prompt": old.prompt, "seed": 5, "max_tokens": 12}
    assert client.post("/api/generate", json=asked).json["samples"][0]["text"] == old.sampled_seed_5
    assert client.get("/").status_code == 200

"""Beginning a run: from tiny texts, from standard input, with a disk that fills up."""

import errno
import io
import json
import os
import pathlib
import shutil

import pytest
import torch

from tests.conftest import TINY
from tests.training.listeners import notes, stop_at
from unrolled import load
from unrolled.errors import UserError
from unrolled.runs import read_checkpoint
from unrolled.training import Evaluated, Started, resume, train


@pytest.mark.parametrize("batching", ["windows", "streams"])
@pytest.mark.parametrize("size", [1, 2, 5, 39, 40, 100, 1000])
def test_a_tiny_text_trains_with_a_note_and_can_be_used(train_tiny, tmp_path, size, batching):
    text = tmp_path / "tiny.txt"
    text.write_text(("abc\n" * 250)[:size] if size > 1 else "a")
    seen = []
    settings = {"training.batching": batching, "training.steps": 3, "training.batch_size": 64, "training.window": 128}
    finished = train_tiny(sources=text, settings=settings, listener=seen.append)
    started = next(event for event in seen if isinstance(event, Started))
    assert 1 <= started.batch_size * started.window < max(size, 2)
    assert "expect memorisation" in notes(seen)
    assert finished.best["step"] == 3
    assert len(load(tmp_path / "run").generate("a", seed=1, max_tokens=5).samples[0].text) == 5


def test_a_bad_source_or_device_leaves_the_run_that_force_would_replace(train_tiny, run, tmp_path):
    before = (run / "model.safetensors").read_bytes()
    for arguments in ({"sources": tmp_path / "none.txt"}, {"settings": {"training.device": "cuda:99"}}):
        with pytest.raises(UserError):
            train_tiny(run, force=True, **arguments)
    assert (run / "model.safetensors").read_bytes() == before


def test_text_from_standard_input_resumes_through_the_cache_and_says_so_when_that_is_gone(
    train_tiny, story, results, tmp_path, monkeypatch
):
    for name, listener in (("whole", [].append), ("stopped", stop_at(8, []))):
        train_tiny(name, sources="-", stdin=io.BytesIO(story.read_bytes()), listener=listener)
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["corpus"]["names"] == ["standard input"]
    with monkeypatch.context() as patch:
        patch.setenv("UNROLLED_CACHE", str(tmp_path / "another-cache"))
        with pytest.raises(UserError, match="came from standard input and is no longer in the cache"):
            resume(tmp_path / "stopped")
    resume(tmp_path / "stopped")
    assert results("stopped").metrics == results("whole").metrics


@pytest.mark.parametrize("failing", ["replace", "write"])
@pytest.mark.parametrize("victim", ["last.safetensors", "model.safetensors"])
def test_a_disk_that_fills_up_leaves_the_checkpoint_before_whole(
    train_tiny, results, tmp_path, monkeypatch, failing, victim
):
    train_tiny("whole")
    original = {"replace": os.replace, "write": pathlib.Path.open}[failing]
    full = []

    def fail(first, *rest, **options):
        name = rest[0].name if failing == "replace" else first.name
        if full and victim in str(name):
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(first, *rest, **options)

    def listen(event):
        if isinstance(event, Evaluated) and event.entry["step"] == 10:
            full.append(True)  # from here on

    with monkeypatch.context() as patch:
        patch.setattr(*{"replace": (os, "replace"), "write": (pathlib.Path, "open")}[failing], fail)
        with pytest.raises(UserError, match="disk is full"):
            train_tiny("filled", listener=listen)
    names = {path.name for path in (tmp_path / "filled").rglob("*") if path.is_file()}
    assert not [name for name in names if "part" in name]
    assert read_checkpoint(tmp_path / "filled" / "checkpoints" / "last.safetensors").counters["training"]["step"] >= 7
    assert load(tmp_path / "filled").best.step >= 5
    resume(tmp_path / "filled")
    assert results("filled").metrics == results("whole").metrics
    assert torch.equal(results("filled").weights["output_bias"], results("whole").weights["output_bias"])


def test_the_card_and_the_configuration_name_texts_without_their_folders(train_tiny, story, tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "corpus"
    folder.mkdir(parents=True)
    shutil.copy(story, folder / "a.txt")
    (folder / "b.csv").write_text('text,who\n"hello there, fox",me\n' * 30)
    monkeypatch.chdir(folder)
    (folder / "b.JSONL").write_text('{"text": "hello there, fox"}\n' * 30)
    names = [["a.txt"], ["corpus"], ["b.csv:text"], ["b.JSONL:text"], ["corpus"]]
    sources = [str(folder / "a.txt"), ".", "../corpus/b.csv:text", f"{folder}/b.JSONL:text", str(folder) + "/"]
    for number, source in enumerate(sources):
        train_tiny(f"run{number}", {"training.steps": 1}, sources=source, valid=[str(folder / "a.txt")])
        config, card = ((tmp_path / f"run{number}" / name).read_text("utf-8") for name in ("config.json", "README.md"))
        assert json.loads(config)["corpus"]["names"] == names[number]
        assert str(tmp_path) not in config + card
        assert "deep" not in config + card


def test_an_interval_of_zero_evaluates_once_a_pass_and_steps_that_are_asked_for_win_over_passes(train_tiny):
    seen = []
    settings = {"training.batching": "streams", "training.epochs": 99, "training.eval_interval": 0}
    train_tiny(settings={**settings, "training.window": 50}, listener=seen.append)
    started = next(event for event in seen if isinstance(event, Started))
    per_pass = -(-((started.train_tokens - 1) // started.batch_size) // started.window)
    evaluated = [event.entry["step"] for event in seen if isinstance(event, Evaluated)]
    assert started.steps == 24
    assert evaluated == [*range(per_pass, 25, per_pass), *([24] if 24 % per_pass else [])]


def test_passes_win_over_the_steps_of_a_preset(story, tmp_path):
    seen, settings = [], {name: value for name, value in TINY.items() if name != "training.steps"}
    asked = {**settings, "training.batching": "streams", "training.epochs": 2.5, "training.eval_interval": 0}
    train(story, tmp_path / "run", preset="stories", settings=asked, listener=seen.append)
    started = next(event for event in seen if isinstance(event, Started))
    per_pass = -(-((started.train_tokens - 1) // started.batch_size) // started.window)
    assert started.steps == -(-5 * per_pass // 2)
    evaluated = [event.entry["step"] for event in seen if isinstance(event, Evaluated)]
    assert evaluated == [per_pass, 2 * per_pass, started.steps]

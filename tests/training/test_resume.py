"""Stopped and gone on with equals never stopped, bit for bit: in fresh processes, after signals, after `kill -9`."""

import itertools
import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from tests.conftest import TINY
from unrolled.errors import UserError
from unrolled.evaluation import validation
from unrolled.kernels import available_kernels, select_kernel, store_choice
from unrolled.runs import draw_loss
from unrolled.training import Evaluated, Note, Previewed, Started, Stepped, resume, start, trainer

DEEP = {"model.layers": 2, "regularization.dropout": 0.2}
TRAIN_AND_DIE = """
import json, os, signal, sys
from unrolled.training import Stepped, train
story, out, settings, step = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
def listen(event):
    if isinstance(event, Stepped) and event.step == step:
        os.kill(os.getpid(), signal.SIGKILL)
train(story, out, preset="stories-fast", settings=settings, listener=listen)
"""
RESUME = """
import sys
from unrolled.training import resume, start
start.draw_loss = lambda *arguments: None
for run in sys.argv[1:]:
    resume(run)
"""


class Killed(BaseException):
    """Nothing after this runs, as after `kill -9`."""


def at_step(step, act):
    def listen(event):
        if isinstance(event, Stepped) and event.step == step:
            act()

    return listen


def at_evaluation(step, act):
    def listen(event):
        if isinstance(event, Evaluated) and event.entry["step"] == step:
            act()

    return listen


def stopped_at(part, of_evaluation):
    """An evaluation that is measured as ever; a signal comes before a part of one of them."""
    evaluations = itertools.count(1)

    def measure(*arguments):
        *rest, look = arguments
        this, parts = next(evaluations), itertools.count()

        def signal_then_look():
            if (this, next(parts)) == (of_evaluation, part):
                signal.raise_signal(signal.SIGINT)
            look()

        return validation.validation_loss_nats(*rest, signal_then_look)

    return measure


def stopped_while_drawing(path, metrics, title, look):
    """A picture that is drawn as ever; a signal comes before its last part."""
    parts = itertools.count()

    def signal_then_look():
        if next(parts) == 3:
            signal.raise_signal(signal.SIGTERM)
        look()

    draw_loss(path, metrics, title, signal_then_look)


def stop_by(number):
    return lambda: signal.raise_signal(number)


def kill():
    raise Killed


def python(program, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_same(one, other):
    """Compare metrics, weights and the whole checkpoint bit for bit."""
    assert one.metrics == other.metrics
    for kind in ("weights", "checkpoint"):
        tensors, others = getattr(one, kind), getattr(other, kind)
        assert tensors.keys() == others.keys()
        for name in tensors:
            assert torch.equal(tensors[name], others[name]), name


def test_resumed_in_a_fresh_process_equals_never_stopped(train_tiny, results, story, tmp_path):
    # windows, Adam, a constant rate; streams with carried state, Muon, a cosine after a warm-up
    for batching, preset in (("windows", "stories"), ("streams", "stories-fast")):
        assert not train_tiny(f"{batching}-whole", DEEP, preset=preset).interrupted
        stopping = at_step(11, stop_by(signal.SIGTERM))
        stopped = train_tiny(f"{batching}-stopped", DEEP, preset=preset, listener=stopping)
        assert (stopped.interrupted, stopped.step) == (True, 11)
        with pytest.raises(Killed):
            train_tiny(f"{batching}-killed", DEEP, preset=preset, listener=at_step(13, kill))
    dead = python(TRAIN_AND_DIE, story, tmp_path / "really-killed", json.dumps({**TINY, **DEEP}), 18)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    names = ["windows-stopped", "windows-killed", "streams-stopped", "streams-killed", "really-killed"]
    fresh = python(RESUME, *[tmp_path / name for name in names])
    assert fresh.returncode == 0, fresh.stderr
    for name in names:
        whole = results("windows-whole" if name.startswith("windows") else "streams-whole")
        assert len(whole.metrics) == 5
        assert_same(results(name), whole)


@pytest.mark.skipif("native" not in available_kernels(), reason="native is not available here")
def test_resumed_in_bfloat16_in_a_fresh_process_equals_never_stopped(train_tiny, results, tmp_path):
    rounded = {**DEEP, "training.kernel": "native", "training.precision": "bfloat16"}
    train_tiny("whole", rounded)
    assert train_tiny("stopped", rounded, listener=at_step(11, stop_by(signal.SIGTERM))).interrupted
    fresh = python(RESUME, tmp_path / "stopped")
    assert fresh.returncode == 0, fresh.stderr
    assert_same(results("stopped"), results("whole"))
    train_tiny("exact", {**rounded, "training.precision": "float32"})
    assert results("exact").metrics != results("whole").metrics  # or it was not bfloat16 that was tried


def test_a_signal_in_the_very_step_of_an_evaluation_and_a_checkpoint_loses_neither(train_tiny, results, tmp_path):
    settings = {**DEEP, "training.checkpoint_interval": 5}
    train_tiny("whole", settings)
    train_tiny("stopped", settings, listener=at_step(10, stop_by(signal.SIGINT)))
    assert results("stopped").steps == [5]  # it did not wait for the evaluation,
    resume(tmp_path / "stopped")  # which is made up for here
    assert_same(results("stopped"), results("whole"))


def test_stopped_again_and_again_equals_never_stopped(train_tiny, results, tmp_path):
    settings = {**DEEP, "training.batching": "streams", "training.schedule": "cosine", "training.warmup_steps": 4}
    train_tiny("whole", settings)
    finished = train_tiny("stopped", settings, listener=at_step(1, stop_by(signal.SIGINT)))
    for step in (4, 5, 14, 15, 23):
        assert finished.interrupted
        finished = resume(tmp_path / "stopped", listener=at_step(step, stop_by(signal.SIGINT)))
    assert not resume(tmp_path / "stopped").interrupted
    assert_same(results("stopped"), results("whole"))


def test_a_signal_in_the_last_step_leaves_only_the_last_evaluation_to_be_made(train_tiny, results, tmp_path):
    train_tiny("whole")
    finished = train_tiny("stopped", listener=at_step(24, stop_by(signal.SIGTERM)))
    assert (finished.interrupted, finished.step, results("stopped").steps) == (True, 24, [5, 10, 15, 20])
    seen = []
    finished = resume(tmp_path / "stopped", listener=seen.append)
    assert (finished.interrupted, finished.reason) == (False, "all 24 steps are done")
    assert not any(isinstance(event, Stepped) for event in seen)
    assert_same(results("stopped"), results("whole"))


def test_a_signal_after_the_last_evaluation_is_not_an_interruption(train_tiny):
    finished = train_tiny(listener=at_evaluation(24, stop_by(signal.SIGINT)))
    assert (finished.interrupted, finished.reason) == (False, "all 24 steps are done")


@pytest.mark.parametrize("step", [10, 24])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_signal_between_parts_of_an_evaluation_leaves_it_out_until_the_run_is_resumed(
    train_tiny, results, tmp_path, monkeypatch, step, part
):
    monkeypatch.setattr(validation, "CHUNK_TOKENS", 80)  # 200 tokens are read in three parts
    train_tiny("whole", DEEP)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "validation_loss_nats", stopped_at(part, of_evaluation=-(-step // 5)))
        finished = train_tiny("stopped", DEEP)
    assert (finished.interrupted, finished.step) == (True, step)
    assert results("stopped").steps == list(range(5, step, 5))
    assert not resume(tmp_path / "stopped").interrupted
    assert_same(results("stopped"), results("whole"))


def test_an_evaluation_that_is_stopped_again_and_again_is_still_made_once(train_tiny, results, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "CHUNK_TOKENS", 80)
    train_tiny("whole", DEEP)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "validation_loss_nats", stopped_at(1, of_evaluation=2))
        train_tiny("stopped", DEEP)
        patch.setattr(trainer, "validation_loss_nats", stopped_at(2, of_evaluation=1))
        assert resume(tmp_path / "stopped").interrupted
        assert results("stopped").steps == [5]
        # killed after it was made, before the next checkpoint
        with pytest.raises(Killed):
            resume(tmp_path / "stopped", listener=at_evaluation(10, kill))
    resume(tmp_path / "stopped")
    assert_same(results("stopped"), results("whole"))


def test_a_signal_in_a_preview_leaves_out_the_preview_alone(train_tiny, results, tmp_path):
    showing = {**DEEP, "training.preview_tokens": 30}
    train_tiny("whole", showing)
    seen = []
    stopping = at_evaluation(10, stop_by(signal.SIGINT))
    train_tiny("stopped", showing, listener=lambda event: (seen.append(event), stopping(event)))
    assert [event.step for event in seen if isinstance(event, Previewed)] == [5]
    assert results("stopped").steps == [5, 10]
    resume(tmp_path / "stopped")
    assert_same(results("stopped"), results("whole"))


def test_a_signal_while_the_picture_is_drawn_leaves_it_out_until_the_run_is_resumed(
    train_tiny, results, tmp_path, monkeypatch
):
    train_tiny("whole")
    with monkeypatch.context() as patch:
        patch.setattr(start, "draw_loss", stopped_while_drawing)
        finished = train_tiny("stopped")
    assert finished.interrupted
    assert finished.reason == "all 24 steps are done; stopped by a signal before loss.png was drawn"
    assert not (tmp_path / "stopped" / "loss.png").exists()
    assert "loss.png" not in (tmp_path / "stopped" / "README.md").read_text("utf-8")
    monkeypatch.setattr(start, "draw_loss", draw_loss)
    assert not resume(tmp_path / "stopped").interrupted
    assert (tmp_path / "stopped" / "loss.png").exists()
    assert "(loss.png)" in (tmp_path / "stopped" / "README.md").read_text("utf-8")
    assert_same(results("stopped"), results("whole"))


@pytest.mark.parametrize(
    ("number", "step", "drawn"), [("SIGINT", 8, True), ("SIGTERM", 8, False), ("SIGINT", 3, False)]
)
def test_ctrl_c_leaves_time_for_a_picture_of_what_was_measured_and_sigterm_does_not(
    train_tiny, monkeypatch, number, step, drawn
):
    pictures = []
    monkeypatch.setattr(start, "draw_loss", lambda *arguments: pictures.append(arguments))
    finished = train_tiny(listener=at_step(step, stop_by(getattr(signal, number))))
    assert (finished.interrupted, bool(pictures)) == (True, drawn)


def test_a_signal_before_the_first_step_leaves_a_run_to_resume(train_tiny, results, tmp_path):
    train_tiny("whole")

    def stop(event):
        if isinstance(event, Started):
            signal.raise_signal(signal.SIGINT)

    finished = train_tiny("stopped", listener=stop)
    assert (finished.interrupted, finished.step, finished.best) == (True, 0, None)
    resume(tmp_path / "stopped")
    assert_same(results("stopped"), results("whole"))


def test_a_kill_loses_at_most_one_checkpoint_interval_and_lines_after_the_checkpoint(train_tiny, results, tmp_path):
    with pytest.raises(Killed):
        train_tiny(settings={"training.eval_interval": 3, "training.learning_rate": 1e-9}, listener=at_step(13, kill))
    (tmp_path / "run" / "checkpoints" / ".last.safetensors.1.part").write_bytes(b"half")
    assert results().steps == [3, 6, 9, 12]
    seen = []
    resume(tmp_path / "run", listener=seen.append)
    begun = next(event for event in seen if isinstance(event, Started))
    assert 13 - 7 <= begun.step <= 13
    assert results().steps == [3, 6, 9, 12, 15, 18, 21, 24]
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["last.safetensors"]


def test_a_kill_before_anything_was_saved_begins_again_from_the_start(train_tiny, results, tmp_path):
    train_tiny("whole")
    with pytest.raises(Killed):
        train_tiny("killed", listener=at_step(2, kill))
    resume(tmp_path / "killed")
    assert_same(results("killed"), results("whole"))


def test_metrics_written_after_the_checkpoint_are_dropped_and_written_again(train_tiny, results, tmp_path):
    train_tiny("whole")
    train_tiny("stopped", listener=at_step(12, stop_by(signal.SIGINT)))
    with (tmp_path / "stopped" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "valid_loss_nats": 9.0}\n{"step": 20, "valid_l')
    resume(tmp_path / "stopped")
    assert_same(results("stopped"), results("whole"))


def test_more_steps_go_on_and_the_settings_remember_them(train_tiny, results, tmp_path):
    train_tiny("long")
    train_tiny("short", {"training.steps": 10})
    finished = resume(tmp_path / "short", steps=24)
    assert finished.reason == "all 24 steps are done"
    assert_same(results("short"), results("long"))
    assert json.loads((tmp_path / "short" / "config.json").read_text())["training"]["steps"] == 24


def test_a_finished_run_says_that_there_is_nothing_left_to_do_and_loses_nothing(train_tiny, results, tmp_path):
    train_tiny()
    before, seen = results(), []
    finished = resume(tmp_path / "run", listener=seen.append)
    assert (finished.reason, finished.interrupted) == ("all 24 steps are done", False)
    assert finished.best["step"] == 24
    assert any(isinstance(event, Note) and "--steps" in event.text and "--minutes" in event.text for event in seen)
    assert not any(isinstance(event, Stepped) for event in seen)
    assert_same(results(), before)


def test_impossible_wishes_are_refused_and_change_nothing(train_tiny, tmp_path):
    train_tiny()
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"training\.steps = 0(.|\n)*training\.minutes = -1"):
        resume(tmp_path / "run", steps=0, minutes=-1)
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_text_that_is_still_there_is_encoded_again_when_the_cache_is_gone(train_tiny, results, tmp_path, monkeypatch):
    train_tiny("whole", valid=[tmp_path / "story.txt"])
    train_tiny("stopped", valid=[tmp_path / "story.txt"], listener=at_step(8, stop_by(signal.SIGINT)))
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "another-cache"))
    monkeypatch.chdir("/")
    resume(tmp_path / "stopped")
    assert_same(results("stopped"), results("whole"))


@pytest.mark.parametrize("changed", ["text", "validation", "gone"])
def test_a_changed_text_is_refused_once_the_cache_is_gone(train_tiny, story, tmp_path, monkeypatch, changed):
    valid = tmp_path / "valid.txt"
    valid.write_text("On day 3 the fox met the moon by the mill.\n" * 3)
    train_tiny(valid=[valid], listener=at_step(8, stop_by(signal.SIGINT)))
    {
        "text": lambda: story.write_text(story.read_text("utf-8").replace("hen", "cat"), "utf-8"),
        "validation": lambda: valid.write_text("On day 4 the fox met the moon by the mill.\n" * 3),
        "gone": story.unlink,
    }[changed]()
    with monkeypatch.context() as patch:
        patch.setenv("UNROLLED_CACHE", str(tmp_path / "another-cache"))
        before = (tmp_path / "run" / "config.json").read_bytes()
        with pytest.raises(
            UserError, match="There is no file" if changed == "gone" else "has changed since the run began"
        ):
            resume(tmp_path / "run", steps=30)
        assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert resume(tmp_path / "run").step == 24  # through the cache


def test_a_checkpoint_of_a_run_on_another_text_is_refused(train_tiny, story, tmp_path):
    train_tiny("one")
    story.write_text(story.read_text("utf-8")[::-1], "utf-8")
    train_tiny("two")
    os.replace(
        tmp_path / "two" / "checkpoints" / "last.safetensors", tmp_path / "one" / "checkpoints" / "last.safetensors"
    )
    with pytest.raises(UserError):
        resume(tmp_path / "one", steps=30)


def test_a_choice_of_a_kernel_stored_since_then_does_not_change_a_run(train_tiny, tmp_path):
    train_tiny(listener=at_step(8, stop_by(signal.SIGINT)))
    begun = select_kernel().kernel.name
    store_choice("reference", "stories")
    assert select_kernel().kernel.name == "reference" != begun
    seen = []
    resume(tmp_path / "run", listener=seen.append)
    (started,) = [event for event in seen if isinstance(event, Started)]
    assert (started.kernel, started.kernel_reason) == (begun, "as the run was begun")


def test_another_number_of_threads_is_noted(train_tiny, tmp_path):
    train_tiny(settings={"training.threads": 1}, listener=at_step(8, stop_by(signal.SIGINT)))
    values = json.loads((tmp_path / "run" / "config.json").read_text())
    values["training"]["threads"] = 2
    (tmp_path / "run" / "config.json").write_text(json.dumps(values))
    seen = []
    try:
        resume(tmp_path / "run", listener=seen.append)
    finally:
        torch.set_num_threads(1)
    assert any(isinstance(event, Note) and "with 1 threads and continues with 2" in event.text for event in seen)


def test_a_run_in_training_is_neither_gone_on_with_nor_replaced_by_another_process(train_tiny, story, tmp_path):
    refused = []

    def try_both():
        again = f"from unrolled.training import *; train({str(story)!r}, {str(tmp_path / 'run')!r}, force=True)"
        for program in (again, f"from unrolled.training import *; resume({str(tmp_path / 'run')!r})"):
            refused.append(python(program).stderr)

    train_tiny(listener=at_step(9, try_both))
    assert len(refused) == 2
    assert all("Another process is training" in message for message in refused)

"""What is kept, when training ends, and what happens when the loss goes wrong."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from tests.decoding.own_part import ModelWithOwnPart, texts_of
from unrolled import load
from unrolled.errors import UserError
from unrolled.nn import LanguageModel
from unrolled.runs import read_checkpoint
from unrolled.sampling import stream
from unrolled.training import Evaluated, Note, Previewed, RolledBack, Stepped, progress, resume, start, trainer


@pytest.fixture
def measured(monkeypatch):
    """Let the evaluations give these losses; keep the weights that were measured."""
    kept = []

    def give(*losses):
        left = list(losses)

        def measure(model, ids, start_id, max_tokens, before_part):
            kept.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            return left.pop(0) * 50, 50

        monkeypatch.setattr(trainer, "validation_loss_nats", measure)
        return kept

    return give


@pytest.fixture
def broken_steps(monkeypatch):
    """Let the loss of these training steps, counted as they are tried, be multiplied."""

    def give(tries, factor=math.nan):
        tried = iter(range(1, 10**9))
        original = LanguageModel.loss_nats

        def loss_nats(model, inputs, targets, state=None, generator=None, scale=1.0):
            loss, after = original(model, inputs, targets, state, generator, scale)
            if generator is not None and next(tried) in tries:
                loss = loss * factor
            return loss, after

        monkeypatch.setattr(LanguageModel, "loss_nats", loss_nats)

    return give


@pytest.fixture
def seconds_pass(monkeypatch):
    """A clock that is a second further on at every look."""
    looks = iter(range(10**9))
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: float(next(looks))))


def events(kind, seen):
    return [event for event in seen if isinstance(event, kind)]


def test_the_best_weights_and_the_last_ones_are_kept(train_tiny, results, measured, tmp_path):
    kept, seen = measured(3.0, 2.0, 2.5, 2.0, 2.2), []
    finished = train_tiny(listener=seen.append)
    assert [event.is_best for event in events(Evaluated, seen)] == [True, True, False, False, False]
    assert finished.best["step"] == 10
    for name, tensor in kept[1].items():
        assert torch.equal(results().weights[name], tensor)
        assert torch.equal(results().checkpoint[f"model.{name}"], kept[4][name])
    assert not torch.equal(kept[1]["output_bias"], kept[4]["output_bias"])
    best = load(tmp_path / "run").best
    assert (best.step, best.valid_loss_nats) == (10, 2.0)


def test_patience_ends_training_and_more_of_it_goes_on(train_tiny, results, measured, tmp_path):
    measured(3.0, 2.0, 2.5, 2.0, 2.1, 2.2, 1.5, 1.6)
    finished = train_tiny(settings={"training.patience": 2, "training.steps": 100})
    assert (finished.step, finished.reason) == (20, "2 evaluations in a row were no better than the best")
    assert not finished.interrupted
    assert resume(tmp_path / "run").step == 20
    finished = resume(tmp_path / "run", steps=35)
    assert (finished.step, finished.best["step"]) == (30, 10)
    assert results().steps == [5, 10, 15, 20, 25, 30]


def test_no_patience_never_ends_training(train_tiny, measured):
    measured(1.0, 2.0, 3.0, 4.0, 5.0)
    assert train_tiny(settings={"training.patience": 0}).step == 24


def test_a_budget_of_minutes_ends_training_with_an_evaluation_and_counts_from_now_when_resumed(
    train_tiny, results, seconds_pass, tmp_path
):
    finished = train_tiny(settings={"training.minutes": 0.5, "training.steps": 1000})
    assert finished.reason == "the budget of 0.5 minutes is used up"
    assert 30 <= finished.seconds <= 40
    assert results().steps[-1] == finished.step < 30
    seen = []
    assert resume(tmp_path / "run", listener=seen.append).step == finished.step
    assert any("budget" in event.text for event in events(Note, seen))
    longer = resume(tmp_path / "run", minutes=0.25)
    assert longer.step > finished.step
    assert 15 <= longer.seconds - finished.seconds <= 25
    assert resume(tmp_path / "run", steps=longer.step + 40).step == longer.step + 40  # the minutes are no limit now


def test_more_minutes_after_all_steps_are_done_are_used(train_tiny, seconds_pass, tmp_path):
    assert train_tiny().reason == "all 24 steps are done"
    finished = resume(tmp_path / "run", minutes=0.5)
    assert "minutes is used up" in finished.reason
    assert finished.step > 24


def test_a_stop_before_the_first_evaluation_leaves_weights_that_can_be_used(train_tiny, tmp_path):
    import signal

    def stop(event):
        if isinstance(event, Stepped) and event.step == stop.at:
            signal.raise_signal(signal.SIGINT)

    stop.at = 2
    finished = train_tiny(listener=stop)
    assert (finished.interrupted, finished.best) == (True, None)
    assert load(tmp_path / "run").best.step == 2
    stop.at = 4
    resume(tmp_path / "run", listener=stop)
    model = load(tmp_path / "run")
    assert (model.best.step, model.best.valid_loss_nats) == (4, None)
    assert json.dumps(model.info(), allow_nan=False)
    assert "Not evaluated yet" in (tmp_path / "run" / "README.md").read_text("utf-8")


def test_a_loss_that_is_no_number_goes_back_halves_the_rate_and_says_so(train_tiny, results, broken_steps, tmp_path):
    broken_steps({14})
    seen = []
    settings = {"training.eval_interval": 3, "training.checkpoint_interval": 5, "training.learning_rate": 0.004}
    finished = train_tiny(settings=settings, listener=seen.append)
    (back,) = events(RolledBack, seen)
    assert (back.step, back.to_step, back.rate_factor) == (13, 12, 0.5)
    assert "not a finite number" in back.reason
    assert finished.step == 24
    assert results().steps == [3, 6, 9, 12, 15, 18, 21, 24]
    assert [entry["learning_rate"] for entry in results().metrics] == [0.004] * 4 + [0.002] * 4
    assert all(torch.isfinite(tensor).all() for tensor in results().weights.values())
    steps = [event.step for event in events(Stepped, seen)]
    assert steps == [*range(1, 14), *range(13, 25)]


def test_lines_after_the_state_that_was_gone_back_to_are_dropped(train_tiny, results, broken_steps, measured):
    measured(1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0)
    broken_steps({12})
    seen = []
    train_tiny(settings={"training.eval_interval": 3, "training.checkpoint_interval": 7}, listener=seen.append)
    assert [event.to_step for event in events(RolledBack, seen)] == [7]
    assert [event.entry["step"] for event in events(Evaluated, seen)] == [3, 6, 9, 9, 12, 15, 18, 21, 24]
    assert results().steps == [3, 6, 9, 12, 15, 18, 21, 24]


def test_a_leap_of_the_loss_goes_back_too_and_the_text_goes_on_after_the_bad_batch(train_tiny, broken_steps):
    broken_steps({55}, factor=20.0)
    seen = []
    settings = {"training.steps": 60, "training.batching": "streams", "training.eval_interval": 50}
    train_tiny(settings=settings, listener=seen.append)
    (back,) = events(RolledBack, seen)
    assert "jumped from" in back.reason
    assert back.to_step == 50


def test_a_state_from_which_training_fails_at_once_is_given_up_for_the_one_before(train_tiny, broken_steps, tmp_path):
    broken_steps({9})
    seen, on_disk = [], []

    def listen(event):
        seen.append(event)
        if isinstance(event, RolledBack):
            on_disk.append(read_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors").counters["training"])

    train_tiny(settings={"training.eval_interval": 100, "training.checkpoint_interval": 4}, listener=listen)
    (back,) = events(RolledBack, seen)
    assert (back.step, back.to_step) == (8, 4)
    assert [at["step"] for at in on_disk] == [4]


def test_training_that_never_recovers_is_given_up_with_advice_and_can_still_be_resumed(
    train_tiny, results, broken_steps, tmp_path
):
    seen, tries = [], set(range(12, 1000))
    broken_steps(tries)
    with pytest.raises(UserError, match=r"halved 12 times.*learning_rate"):
        train_tiny(listener=seen.append)
    assert len(events(RolledBack, seen)) == 12
    tries.clear()
    assert resume(tmp_path / "run").step == 24
    assert all(torch.isfinite(tensor).all() for tensor in results().checkpoint.values() if tensor.is_floating_point())


def test_a_validation_loss_that_is_no_number_is_never_kept_as_the_best(train_tiny, results, measured):
    measured(3.0, math.nan, 2.0, 1.0, 1.5, 1.5)
    seen = []
    finished = train_tiny(listener=seen.append)
    assert [(event.step, event.to_step) for event in events(RolledBack, seen)] == [(10, 7)]
    assert results().steps == [5, 10, 15, 20, 24]
    assert finished.best["valid_loss_nats"] == 1.0


def test_a_far_too_high_rate_ends_with_finite_weights(train_tiny, results):
    finished = train_tiny(settings={"training.learning_rate": 100.0, "training.steps": 70})
    assert finished.step == 70
    assert all(torch.isfinite(tensor).all() for tensor in results().weights.values())


def test_previews_go_on_from_their_prompt_and_change_nothing(train_tiny, results):
    seen = []
    train_tiny("silent")
    train_tiny("telling", {"training.preview_tokens": 30, "training.preview_prompt": "The fox"}, listener=seen.append)
    previews = events(Previewed, seen)
    assert [preview.step for preview in previews] == [5, 10, 15, 20, 24]
    assert all(len(preview.text) == 30 and preview.prompt == "The fox" for preview in previews)
    assert results("silent").metrics == results("telling").metrics


def test_the_preview_of_a_model_with_a_part_of_its_own_is_what_its_forward_pass_says(train_tiny, monkeypatch):
    models, expected, seen = [], [], []

    def make(*arguments):
        models.append(ModelWithOwnPart(*arguments))
        return models[-1]

    def noting(decoder, *arguments):
        expected.extend(texts_of(models[0], *arguments))
        return stream(decoder, *arguments)

    monkeypatch.setattr(start, "LanguageModel", make)
    monkeypatch.setattr(trainer, "stream", noting)
    train_tiny("own", {"training.preview_tokens": 25, "training.preview_prompt": "The fox"}, listener=seen.append)
    assert [preview.text for preview in events(Previewed, seen)] == expected
    assert len(expected) == 5


def test_what_a_step_tells_adds_up(train_tiny, seconds_pass):
    seen = []
    train_tiny(listener=seen.append)
    steps = events(Stepped, seen)
    assert [event.progress_fraction for event in steps] == pytest.approx([step / 24 for step in range(1, 25)])
    assert steps[-1].seconds_left == 0
    assert [event.seconds for event in steps] == sorted({event.seconds for event in steps})
    assert steps[0].tokens_per_second == 3 * 7 / 1.0

"""Weights other than the optimizer's are evaluated, previewed and kept, and training does not notice."""

import contextlib
import math
import signal

import pytest
import torch

from unrolled import load
from unrolled.errors import UserError
from unrolled.nn import LanguageModel
from unrolled.training import Previewed, RolledBack, Stepped, resume, start, trainer
from unrolled.training.evaluated_weights import EvaluatedWeights
from unrolled.training.interrupts import Stopped


class Averaged(EvaluatedWeights):
    """The mean of the weights after every step so far."""

    def __init__(self):
        self.count, self.mean, self.told = torch.tensor(0), {}, []

    def after_step(self, model):
        self.count = self.count + 1
        for name, weight in model.state_dict().items():
            before = self.mean.get(name, torch.zeros_like(weight))
            self.mean[name] = before + (weight - before) / self.count

    def after_evaluation(self, loss_nats, is_best):
        self.told.append((loss_nats, is_best))

    @contextlib.contextmanager
    def swapped_in(self, model):
        own = {name: weight.clone() for name, weight in model.state_dict().items()}
        model.load_state_dict(self.mean)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def tensors(self):
        return {"count": self.count, **{f"mean.{name}": mean for name, mean in self.mean.items()}}

    def restore(self, tensors):
        self.count = tensors.get("count", torch.tensor(0))
        self.mean = {name.removeprefix("mean."): mean for name, mean in tensors.items() if name != "count"}


@pytest.fixture
def averaging(monkeypatch):
    """Evaluate averages in every run from now on; all averages that were made."""
    made = []

    def job(*arguments):
        made.append(Averaged())
        return trainer.Job(*arguments, evaluated=made[-1])

    def begin():
        monkeypatch.setattr(start, "Job", job)
        return made

    return begin


ONE_EVALUATION = {"training.eval_interval": 24, "training.eval_tokens": 10_000, "training.preview_tokens": 20}


def interrupt(event):
    if isinstance(event, Stepped) and event.step == 11:
        signal.raise_signal(signal.SIGINT)


def test_the_mean_is_measured_previewed_and_kept_and_training_is_the_same(
    train_tiny, results, averaging, story, monkeypatch
):
    train_tiny("plain", ONE_EVALUATION)
    seen, previewed, steps = [], [], []
    made, original, after_step = averaging(), trainer.decoder_of, Averaged.after_step
    monkeypatch.setattr(
        trainer, "decoder_of", lambda model: previewed.append(_copy(model.state_dict())) or original(model)
    )
    monkeypatch.setattr(
        Averaged, "after_step", lambda self, model: (steps.append(_copy(model.state_dict())), after_step(self, model))
    )
    train_tiny("averaged", ONE_EVALUATION, listener=seen.append)
    plain, averaged = results("plain"), results("averaged")
    for name, tensor in plain.checkpoint.items():
        assert torch.equal(averaged.checkpoint[name], tensor), name
    expected = {name: torch.stack([step[name] for step in steps]).mean(dim=0) for name in steps[0]}
    for name, mean in expected.items():
        torch.testing.assert_close(averaged.weights[name], mean)
        assert torch.equal(previewed[0][name], averaged.weights[name])
        assert not torch.equal(averaged.weights[name], plain.weights[name])
    assert sum(isinstance(event, Previewed) for event in seen) == len(previewed) == 1
    again = load(averaged.folder, device="cpu").evaluate(story, split="valid")
    (entry,) = averaged.metrics
    assert entry["valid_loss_nats"] == pytest.approx(again.total_nats / again.tokens)
    assert made[0].told == [(entry["valid_loss_nats"], True)]


def test_what_it_keeps_is_in_the_checkpoint_and_a_resumed_run_equals_an_uninterrupted_one(
    train_tiny, results, averaging, tmp_path
):
    averaging()
    train_tiny("whole")
    assert train_tiny("stopped", listener=interrupt).interrupted
    resume(tmp_path / "stopped")
    whole, stopped = results("whole"), results("stopped")
    assert stopped.metrics == whole.metrics
    assert int(whole.checkpoint["evaluated.count"]) == 24
    for kind in ("weights", "checkpoint"):
        assert getattr(stopped, kind).keys() == getattr(whole, kind).keys()
        for name, tensor in getattr(whole, kind).items():
            assert torch.equal(getattr(stopped, kind)[name], tensor), name


def test_an_evaluation_that_is_stopped_gives_the_weights_back(train_tiny, results, averaging, tmp_path, monkeypatch):
    averaging()
    train_tiny("whole")
    measure, evaluations = trainer.validation_loss_nats, iter(range(5))

    def stop_at_the_second(*arguments):
        if next(evaluations) == 1:
            raise Stopped
        return measure(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "validation_loss_nats", stop_at_the_second)
        assert train_tiny("stopped").step == 10
    resume(tmp_path / "stopped")
    assert results("stopped").metrics == results("whole").metrics
    for name, tensor in results("whole").checkpoint.items():
        assert torch.equal(results("stopped").checkpoint[name], tensor), name


def test_a_rollback_takes_the_mean_back_too(train_tiny, averaging, monkeypatch):
    original, tries, seen = LanguageModel.loss_nats, iter(range(1, 100)), []

    def loss_nats(model, inputs, targets, state=None, generator=None, *scale):
        loss, after = original(model, inputs, targets, state, generator, *scale)
        return (loss * math.nan if generator is not None and next(tries) == 14 else loss), after

    monkeypatch.setattr(LanguageModel, "loss_nats", loss_nats)
    made = averaging()
    counts = []

    def listen(event):
        seen.append(event)
        if isinstance(event, RolledBack):
            counts.append((event.to_step, int(made[0].count)))

    train_tiny(listener=listen)
    (at_rollback,) = counts
    assert at_rollback[0] == at_rollback[1] < 13
    assert int(made[0].count) == 24


def test_a_run_with_averages_is_not_continued_without_them(train_tiny, averaging, tmp_path, monkeypatch):
    averaging()
    train_tiny(listener=interrupt)
    monkeypatch.setattr(start, "Job", trainer.Job)
    with pytest.raises(UserError, match="does not fit this run"):
        resume(tmp_path / "run")


def _copy(tensors):
    return {name: tensor.clone() for name, tensor in tensors.items()}

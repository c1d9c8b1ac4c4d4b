"""The training loop: step, evaluate, save, and go on exactly after a stop.

    loss = mean over the batch's targets of -log p(target)        truncated back-propagation through time (Werbos 1990):
    the hidden state is carried from one batch to the next, its gradient is not.

Everything that the next step depends on is in `TrainingState` or in the model, the optimizer, the batcher and the
dropout generator; a checkpoint holds all of it, so a resumed run computes the same bits as one that was never stopped.

A request to stop is looked at before every step and between the parts of an evaluation. An evaluation that was left
half-way has changed nothing; the checkpoint notes that it is still to be made, and the resumed run begins with it.

When the loss goes wrong, weights and optimizer go back to the last good state and the rate is halved; the text goes on
after the bad batch, which may have been the reason. A state from which training fails at once was not good: the one
before it is taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

import torch

from unrolled.config import SamplingSettings, TrainingSettings
from unrolled.data import Batcher, Corpus
from unrolled.decoding import decoder_of
from unrolled.errors import UserError
from unrolled.evaluation import validation_loss_nats
from unrolled.nn import LanguageModel, State
from unrolled.runs import (
    BestWeights,
    Checkpoint,
    RunFolder,
    append_metrics,
    keep_metrics_up_to,
    read_metrics,
    write_checkpoint,
    write_weights,
)
from unrolled.sampling import stream
from unrolled.training.events import Evaluated, Finished, Listener, Note, Previewed, RolledBack, Stepped
from unrolled.training.guard import LossGuard
from unrolled.training.interrupts import Stopped, StopRequest
from unrolled.training.optimizers.optimizer import Optimizer, clip_gradients
from unrolled.training.schedule import lr_scale, progress_fraction
from unrolled.units import bits_per_unit, perplexity

LOWEST_RATE_FACTOR = 2**-12
COUNTS = ("step", "tokens", "train_tokens", "best_step", "evaluations_without_better", "guarded_steps")


@dataclass
class TrainingState:
    """The counters of a training run; all of them are in every checkpoint."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    train_nats: float = 0.0  # since the last evaluation
    train_tokens: int = 0
    train_seconds: float = 0.0
    best_loss_nats: float | None = None
    best_step: int = 0
    evaluations_without_better: int = 0
    rate_factor: float = 1.0
    mean_loss_nats: float = 0.0
    guarded_steps: int = 0
    evaluation_pending: bool = False  # the one of `step` is due and not complete

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> TrainingState:
        """Return the counters of a checkpoint.

        Raises:
            ValueError: they are not those of a training run.
        """
        values = checkpoint.counters.get("training")
        if not isinstance(values, dict) or set(values) - {field.name for field in dataclasses.fields(cls)}:
            raise ValueError("the counters are not those of a training run")
        best = values.get("best_loss_nats")
        if type(values.get("evaluation_pending", False)) is not bool:
            raise ValueError("the counter evaluation_pending is impossible")
        left_out = ["evaluation_pending"] + ["best_loss_nats"] * (best is None)
        numbers = {name: value for name, value in values.items() if name not in left_out}
        for name, value in numbers.items():
            if type(value) not in ((int,) if name in COUNTS else (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"the counter {name} is impossible")
        return cls(**values)


@dataclass(frozen=True)
class Job:
    """What is trained, on what, how, and where it is kept."""

    model: LanguageModel
    corpus: Corpus
    batcher: Batcher
    settings: TrainingSettings
    sampling: SamplingSettings
    folder: RunFolder
    about: dict[str, Any]  # goes into every checkpoint: where the text is, and the like


class Trainer:
    """Trains one model; see the module's text.

    Args:
        job: what to do.
        listener: is told of everything that happens.
        checkpoint: continue from here; from the beginning when none is given.
        stop: is looked at wherever training can stop.
    """

    def __init__(
        self, job: Job, listener: Listener, checkpoint: Checkpoint | None = None, stop: StopRequest | None = None
    ):
        self.job = job
        self.emit = listener
        self.stop = StopRequest() if stop is None else stop
        self.device = job.model.embedding.device
        self.optimizer = Optimizer(job.model, job.settings, job.model.regularization.weight_decay)
        self.dropout = torch.Generator().manual_seed(job.settings.seed + 2)  # of the CPU: any device goes on
        self.progress = TrainingState()
        self.guard = LossGuard(job.settings.spike_factor)
        self.state: State | None = None  # of the model, carried from batch to batch
        self.clock = 0.0  # when `progress.seconds` was last brought up to date
        if checkpoint is not None:
            self._restore(checkpoint)
            self._keep_metrics()
        self.last_good = [self._checkpoint()]  # the last two good states, the newest at the end

    def train(self) -> Finished:
        """Train until the steps, the minutes or the patience are used up, or a stop is requested."""
        self.clock = time.perf_counter()
        if not self.job.folder.checkpoint.exists():
            write_checkpoint(self.job.folder.checkpoint, self.last_good[-1])
        self.stop.resumable = True
        with contextlib.suppress(Stopped):
            self._advance()
        self._save()
        if self.progress.best_loss_nats is None or not self.job.folder.weights.exists():
            self._write_weights(None)  # stopped before the first evaluation: what there is, is usable
        reason = self.end_reason()
        # a stop at the very last step changes nothing, if the evaluation after it is complete
        interrupted = not reason or self.progress.evaluation_pending
        return Finished(
            "stopped by a signal; it can be resumed" if interrupted else reason,
            interrupted,
            self.progress.step,
            self.progress.seconds,
            self.best_entry(),
            str(self.job.folder.path),
        )

    def _advance(self) -> None:
        """Train to the end.

        Raises:
            Stopped: it was requested; every step so far is whole.
        """
        if self.progress.evaluation_pending:
            self._measure_and_save()
        while not self.end_reason():
            self.stop.check()
            if self._step():
                self._measure_and_save()

    def best_entry(self) -> dict[str, Any] | None:
        """Return the line of `metrics.jsonl` of the weights that are kept as the best."""
        entries = [e for e in read_metrics(self.job.folder.metrics) if e["step"] == self.progress.best_step]
        return entries[-1] if entries else None

    def _keep_metrics(self) -> None:
        """Drop the lines of `metrics.jsonl` after the present step.

        A killed process may have made the pending evaluation, and noted it without a checkpoint; its line goes too.
        """
        for note in keep_metrics_up_to(self.job.folder.metrics, self.progress.step - self.progress.evaluation_pending):
            self.emit(Note(note))

    def end_reason(self) -> str:
        """Return why training is at its end, or nothing while it is not."""
        settings, at = self.job.settings, self.progress
        if at.step >= settings.steps:
            return f"all {settings.steps:,} steps are done"
        if settings.minutes is not None and at.seconds >= 60 * settings.minutes:
            return f"the budget of {settings.minutes:g} minutes is used up"
        if settings.patience and at.evaluations_without_better >= settings.patience:
            return f"{settings.patience} evaluations in a row were no better than the best"
        return ""

    def _is_due(self, interval: int) -> bool:
        return self.progress.step % interval == 0

    def _measure_and_save(self) -> None:
        """Do what is due after a step. A best state is saved: no checkpoint is older than the best weights."""
        step, was_pending = self.progress.step, self.progress.evaluation_pending
        due = was_pending or self._is_due(self.job.settings.eval_interval) or bool(self.end_reason())
        if due:
            self.progress.evaluation_pending = True
            self._evaluate()
        if self.progress.step != step:
            return  # rolled back
        if was_pending or self.progress.best_step == step or self._is_due(self.job.settings.checkpoint_interval):
            self._save()
        if due:
            self._preview()

    def _step(self) -> bool:
        """Make one optimizer step and return True, or roll back."""
        started = time.perf_counter()
        batch = self.job.batcher.next_batch()
        state = None if batch.starts_fresh else self.state
        inputs, targets = batch.inputs.to(self.device), batch.targets.to(self.device)
        loss, state = self.job.model.loss_nats(inputs, targets, state, self.dropout, 1 / targets.numel())
        self.optimizer.zero_grad()
        loss.backward()
        norm = clip_gradients(self.job.model, self.job.settings.clip_norm)
        loss_nats = loss.item()
        problem = self.guard.problem(loss_nats, norm)
        if problem is not None:
            self._roll_back(problem)
            return False
        fraction = progress_fraction(self.job.settings, self.progress.step, self.progress.seconds)
        self.optimizer.step(self._lr_scale(fraction))
        self.state = state.detach()
        self._count(loss_nats, targets.numel(), time.perf_counter() - started)
        return True

    def _lr_scale(self, fraction: float) -> float:
        return lr_scale(self.job.settings, self.progress.step, fraction) * self.progress.rate_factor

    def _count(self, loss_nats: float, tokens: int, seconds: float) -> None:
        at = self.progress
        self.guard.accept(loss_nats)
        at.step += 1
        at.tokens += tokens
        at.train_nats += loss_nats * tokens
        at.train_tokens += tokens
        at.train_seconds += seconds
        self._look_at_clock()
        fraction = progress_fraction(self.job.settings, at.step, at.seconds)
        left = at.seconds * (1 - fraction) / fraction
        self.emit(Stepped(at.step, loss_nats, self._tokens_per_second(), at.seconds, fraction, left))

    def _look_at_clock(self) -> None:
        """Count the time since the last look, whatever it was spent on."""
        now = time.perf_counter()
        self.progress.seconds += now - self.clock
        self.clock = now

    def _tokens_per_second(self) -> float:
        return self.progress.train_tokens / self.progress.train_seconds if self.progress.train_seconds else math.nan

    def _evaluate(self) -> None:
        """Measure on the validation text, and keep the weights if they are the best."""
        job, at = self.job, self.progress
        valid = job.corpus.valid
        nats, tokens = validation_loss_nats(
            job.model, valid.ids, job.corpus.tokenizer.start_id, job.settings.eval_tokens, self.stop.check
        )
        loss_nats = nats / tokens
        if not math.isfinite(loss_nats):
            self._roll_back("the validation loss is not a finite number")
            return
        self._look_at_clock()
        is_best = at.best_loss_nats is None or loss_nats < at.best_loss_nats
        if is_best:
            at.best_loss_nats, at.best_step, at.evaluations_without_better = loss_nats, at.step, 0
            self._write_weights(loss_nats)
        else:
            at.evaluations_without_better += 1
        characters = valid.characters * tokens / valid.tokens
        entry = self._entry(loss_nats, bits_per_unit(nats, characters))
        append_metrics(job.folder.metrics, entry)
        at.train_nats, at.train_tokens, at.train_seconds = 0.0, 0, 0.0
        at.evaluation_pending = False
        self.emit(Evaluated(entry, is_best))

    def _entry(self, valid_loss_nats: float, valid_bits_per_char: float) -> dict[str, Any]:
        at = self.progress
        return {
            "step": at.step,
            "seconds": round(at.seconds, 3),
            "train_loss_nats": at.train_nats / at.train_tokens if at.train_tokens else math.nan,
            "valid_loss_nats": valid_loss_nats,
            "valid_perplexity": perplexity(valid_loss_nats),
            "valid_bits_per_char": valid_bits_per_char,
            "tokens_per_second": round(self._tokens_per_second(), 1),
            "learning_rate": self.job.settings.learning_rate
            * self._lr_scale(progress_fraction(self.job.settings, at.step, at.seconds)),
        }

    def _preview(self) -> None:
        """Show a sample of what the model writes now; a stop leaves it out."""
        settings, text = self.job.settings, ""
        if settings.preview_tokens == 0:
            return
        sampling = self.job.sampling.model_copy(
            update={"max_tokens": settings.preview_tokens, "n": 1, "seed": settings.seed + self.progress.step}
        )
        decoder = decoder_of(self.job.model)
        for delta in stream(decoder, self.job.corpus.tokenizer, settings.preview_prompt, sampling):
            self.stop.check()
            text += delta.text
        self.emit(Previewed(self.progress.step, settings.preview_prompt, text))
        self._look_at_clock()

    def _write_weights(self, loss_nats: float | None) -> None:
        about = BestWeights(self.progress.step, loss_nats, self.job.corpus.tokenizer.fingerprint)
        write_weights(self.job.folder.weights, dict(self.job.model.state_dict()), about)

    def _save(self) -> None:
        if not all(torch.isfinite(parameter).all() for parameter in self.job.model.parameters()):
            return  # the checkpoint before this one can be gone on from
        self.last_good = [*self.last_good[-1:], self._checkpoint()]
        write_checkpoint(self.job.folder.checkpoint, self.last_good[-1])

    def _checkpoint(self) -> Checkpoint:
        """Copy everything that the next step depends on."""
        self.progress.mean_loss_nats, self.progress.guarded_steps = self.guard.mean_nats, self.guard.steps
        parts = {
            "model": self.job.model.state_dict(),
            "optimiser": self.optimizer.tensors(),  # the spelling in checkpoints; it stays
            "batches": self.job.batcher.position(),
            "dropout": {"generator": self.dropout.get_state()},
            "state": {} if self.state is None else self.state._asdict(),
        }
        tensors = {f"{part}.{name}": t.detach().clone() for part, named in parts.items() for name, t in named.items()}
        return Checkpoint(tensors, {**self.job.about, "training": dataclasses.asdict(self.progress)})

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Put back what `_checkpoint` copied.

        Raises:
            UserError: the checkpoint does not belong to this run.
        """
        try:
            self._restore_learning(checkpoint)
            self.job.batcher.restore(checkpoint.part("batches"))
            self.dropout.set_state(checkpoint.part("dropout")["generator"])
            self.state = self._state_in(checkpoint)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"The checkpoint in {self.job.folder.checkpoint.parent} does not fit this run; start from the best "
                "weights with --init-from."
            ) from error

    def _restore_learning(self, checkpoint: Checkpoint) -> None:
        """Put back what was learnt: counters, weights, optimizer, and what is a usual loss."""
        weights = checkpoint.part("model")
        if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
            raise ValueError("the weights are not finite numbers")
        self.progress = TrainingState.of(checkpoint)
        self.job.model.load_state_dict(weights)
        self.optimizer.restore({k: t.clone() for k, t in checkpoint.part("optimiser").items()})
        self.guard = LossGuard(
            self.job.settings.spike_factor, self.progress.mean_loss_nats, self.progress.guarded_steps
        )

    def _state_in(self, checkpoint: Checkpoint) -> State | None:
        part = checkpoint.part("state")
        if not part:
            return None
        state = State(part["h"].to(self.device), part["c"].to(self.device))
        fitting = self.job.model.initial_state(self.job.batcher.batch_size)
        if (state.h.shape, state.c.shape) != (fitting.h.shape, fitting.c.shape):
            raise ValueError("the hidden state has another shape")
        return state

    def _roll_back(self, reason: str) -> None:
        """Take the last good weights, half the learning rate, and the text that comes next.

        Raises:
            UserError: that has happened too often.
        """
        progress = self.progress
        factor = progress.rate_factor / 2
        if factor < LOWEST_RATE_FACTOR:
            raise UserError(
                f"Training failed again at step {progress.step:,} ({reason}), although the learning rate was halved "
                f"{-math.log2(progress.rate_factor):.0f} times; begin anew with a lower training.learning_rate or "
                "training.clip_norm, or with a higher training.spike_factor where the text itself changes abruptly."
            )
        step, seconds = self.progress.step, self.progress.seconds
        self._restore_learning(self._last_good())
        self.state = None
        self.progress.rate_factor, self.progress.seconds, self.progress.evaluation_pending = factor, seconds, False
        self._keep_metrics()
        self.emit(RolledBack(step, self.progress.step, reason, factor))

    def _last_good(self) -> Checkpoint:
        """Return the newest state, or the one before it where training fails at once from the newest.

        The state of the best weights is never given up: it has proved itself on the validation text.
        """
        newest = TrainingState.of(self.last_good[-1])
        if len(self.last_good) > 1 and self.progress.step == newest.step != newest.best_step:
            self.last_good.pop()
            write_checkpoint(self.job.folder.checkpoint, self.last_good[-1])
        return self.last_good[-1]

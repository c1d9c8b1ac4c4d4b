"""The training loop: step, evaluate, save.

    loss = mean over the batch's targets of -log p(target)        truncated back-propagation through time (Werbos 1990):
    the hidden state is carried from one batch to the next, its gradient is not.

`checkpointing` says what the next step depends on, `progress` counts, `recovery` returns to a good state when the loss
goes wrong, `run_files` writes. Which weights are evaluated and how several processes train together can be replaced:
`Job.evaluated` and `Job.ranks`.

A request to stop is checked before every step and between the parts of an evaluation. An unfinished evaluation has
changed nothing; the checkpoint notes that it is pending, and the resumed run begins with it.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from typing import Any

import torch

from unrolled.config import SamplingSettings, TrainingSettings
from unrolled.data import Batcher, Corpus
from unrolled.decoding import decoder_of
from unrolled.evaluation import validation_loss_nats
from unrolled.nn import LanguageModel, State
from unrolled.runs import BestWeights, Checkpoint, RunFolder
from unrolled.sampling import stream
from unrolled.training.checkpointing import LoopState, all_finite, restore, snapshot
from unrolled.training.evaluated_weights import EvaluatedWeights
from unrolled.training.events import Evaluated, Finished, Listener, Note, Previewed, Stepped
from unrolled.training.guard import LossGuard
from unrolled.training.interrupts import Stopped, StopRequest
from unrolled.training.optimizers.optimizer import Optimizer, clip_gradients
from unrolled.training.progress import Clock, Progress
from unrolled.training.ranks import Ranks
from unrolled.training.recovery import LastGood, roll_back
from unrolled.training.run_files import RunFiles
from unrolled.units import bits_per_unit


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
    evaluated: EvaluatedWeights = field(default_factory=EvaluatedWeights)
    ranks: Ranks = field(default_factory=Ranks)

    def beginning(self) -> LoopState:
        """Return the state before the first step."""
        return LoopState(
            model=self.model,
            optimizer=Optimizer(self.model, self.settings, self.model.regularization.weight_decay),
            batcher=self.batcher,
            dropout=torch.Generator().manual_seed(self.settings.seed + 2),
            guard=LossGuard(self.settings.spike_factor),
            evaluated=self.evaluated,
            progress=Progress(),
        )


class Trainer:
    """Trains one model; see the module's text.

    Args:
        job: what to do.
        listener: receives an event for everything that happens.
        checkpoint: continue from here; without it, training starts from the beginning.
        stop: checked wherever training can stop.
    """

    def __init__(
        self, job: Job, listener: Listener, checkpoint: Checkpoint | None = None, stop: StopRequest | None = None
    ):
        self.job = job
        self.emit = listener
        self.stop = StopRequest() if stop is None else stop
        self.files = RunFiles(job.folder, job.ranks.writes)
        self.clock = Clock()
        self.loop = job.beginning()
        if checkpoint is not None:
            restore(self.loop, checkpoint, job.folder.checkpoint.parent)
            self._drop_later_metrics()
        self.last_good = LastGood(self.files, snapshot(self.loop, job.about))

    @property
    def progress(self) -> Progress:
        """The counters; a rollback replaces them."""
        return self.loop.progress

    def end_reason(self) -> str:
        """Return why training is at its end, or an empty string while it is not."""
        return self.progress.end_reason(self.job.settings)

    def train(self) -> Finished:
        """Train until the steps, the minutes or the patience are used up, or a stop is requested."""
        self.clock.start()
        if not self.job.folder.checkpoint.exists():
            self.last_good.write()
        self.stop.resumable = True
        with contextlib.suppress(Stopped):
            self._advance()
        self._save()
        if self.progress.best_loss_nats is None or not self.job.folder.weights.exists():
            self._keep_weights(None)  # stopped before the first evaluation: what there is can be used
        return self._finished()

    def _advance(self) -> None:
        """Train to the end.

        Raises:
            Stopped: a stop was requested; every step so far is complete.
        """
        if self.progress.evaluation_pending:
            self._measure_and_save()
        while not self.end_reason():
            self.stop.check()
            if self._step():
                self._measure_and_save()

    def _step(self) -> bool:
        """Make one optimizer step and return True, or roll back."""
        started, loop, settings = self.clock.now(), self.loop, self.job.settings
        loss_nats, tokens, hidden = self._backward()
        norm = clip_gradients(loop.model, settings.clip_norm)
        problem = loop.guard.problem(loss_nats, norm)
        if problem is not None:
            self._roll_back(problem)
            return False
        loop.optimizer.step(loop.progress.lr_scale(settings))
        loop.evaluated.after_step(loop.model)
        loop.hidden = hidden
        loop.guard.accept(loss_nats)
        loop.progress.count_step(loss_nats, tokens, self.clock.now() - started)
        self._tell_step(loss_nats)
        return True

    def _backward(self) -> tuple[float, int, State]:
        """Compute the gradients of the next batch; return its mean loss, its targets and the hidden state after it."""
        loop = self.loop
        device = loop.model.embedding.device
        batch = loop.batcher.next_batch()
        inputs, targets = batch.inputs.to(device), batch.targets.to(device)
        hidden = None if batch.starts_fresh else loop.hidden
        loss, hidden = loop.model.loss_nats(inputs, targets, hidden, loop.dropout, 1 / targets.numel())
        loop.optimizer.zero_grad()
        loss.backward()
        return *self.job.ranks.combine(loop.model, loss.item(), targets.numel()), hidden.detach()

    def _tell_step(self, loss_nats: float) -> None:
        progress, settings = self.progress, self.job.settings
        progress.seconds += self.clock.lap()
        rate, left = progress.tokens_per_second(), progress.seconds_left(settings)
        self.emit(Stepped(progress.step, loss_nats, rate, progress.seconds, progress.fraction(settings), left))

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

    def _is_due(self, interval: int) -> bool:
        return self.progress.step % interval == 0

    def _evaluate(self) -> None:
        """Measure on the validation text, and keep the weights if they are the best."""
        job, loop, valid = self.job, self.loop, self.job.corpus.valid
        with loop.evaluated.swapped_in(loop.model):
            nats, tokens = validation_loss_nats(
                loop.model, valid.ids, job.corpus.tokenizer.start_id, job.settings.eval_tokens, self.stop.check
            )
        loss_nats = nats / tokens
        if not math.isfinite(loss_nats):
            self._roll_back("the validation loss is not a finite number")
            return
        loop.progress.seconds += self.clock.lap()
        is_best = loop.progress.count_evaluation(loss_nats)
        if is_best:
            self._keep_weights(loss_nats)
        loop.evaluated.after_evaluation(loss_nats, is_best)
        characters = valid.characters * tokens / valid.tokens
        entry = loop.progress.metrics_entry(job.settings, loss_nats, bits_per_unit(nats, characters))
        self.files.append_metrics(entry)
        loop.progress.start_interval()
        self.emit(Evaluated(entry, is_best))

    def _preview(self) -> None:
        """Show a sample of what the model writes now; a stop leaves it out."""
        settings, text = self.job.settings, ""
        if settings.preview_tokens == 0:
            return
        sampling = self.job.sampling.model_copy(
            update={"max_tokens": settings.preview_tokens, "n": 1, "seed": settings.seed + self.progress.step}
        )
        with self.loop.evaluated.swapped_in(self.loop.model):
            decoder = decoder_of(self.loop.model)  # a copy of the weights
        for delta in stream(decoder, self.job.corpus.tokenizer, settings.preview_prompt, sampling):
            self.stop.check()
            text += delta.text
        self.emit(Previewed(self.progress.step, settings.preview_prompt, text))
        self.progress.seconds += self.clock.lap()

    def _keep_weights(self, loss_nats: float | None) -> None:
        about = BestWeights(self.progress.step, loss_nats, self.job.corpus.tokenizer.fingerprint)
        with self.loop.evaluated.swapped_in(self.loop.model):
            self.files.write_weights(self.loop.model, about)

    def _save(self) -> None:
        """Write a checkpoint, unless the weights are not finite: then the last one stays, which can be resumed."""
        if all_finite(self.loop.model.parameters()):
            self.last_good.add(snapshot(self.loop, self.job.about))

    def _roll_back(self, reason: str) -> None:
        """Return to the last good state; a UserError where that does not help any longer."""
        rolled_back = roll_back(self.loop, self.last_good, reason)
        self._drop_later_metrics()
        self.emit(rolled_back)

    def _drop_later_metrics(self) -> None:
        """Drop the lines of `metrics.jsonl` after the present step.

        A killed process may have made the pending evaluation and noted it without a checkpoint; its line is dropped
        too.
        """
        for note in self.files.keep_metrics_up_to(self.progress.step - self.progress.evaluation_pending):
            self.emit(Note(note))

    def _finished(self) -> Finished:
        reason = self.end_reason()
        # a stop at the very last step changes nothing if the evaluation after it is complete
        interrupted = not reason or self.progress.evaluation_pending
        return Finished(
            "stopped by a signal; it can be resumed" if interrupted else reason,
            interrupted,
            self.progress.step,
            self.progress.seconds,
            self.files.entry_of(self.progress.best_step),
            str(self.job.folder.path),
        )

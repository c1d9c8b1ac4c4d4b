"""Begin a run: everything between a command and the training loop; `resuming` continues one."""

from __future__ import annotations

import dataclasses
import math
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from unrolled.config import Settings, by_current_names, make_settings, note_on_moved
from unrolled.data import Corpus, RandomWindows, Streams, fit_to_text, prepare_corpus
from unrolled.nn import LanguageModel
from unrolled.runs import (
    Checkpoint,
    RunConfig,
    RunFolder,
    draw_loss,
    read_metrics,
    run_lock,
    write_card,
)
from unrolled.training.computing import check_machine, choose_machine
from unrolled.training.events import Finished, Listener, Note, Started, ignore
from unrolled.training.fine_tuning import open_base, settings_over_base
from unrolled.training.interrupts import SignalHandling, Stopped, StopRequest, stop_on_signals
from unrolled.training.memory import keep_freed_memory
from unrolled.training.optimizers.optimizer import import_optimizers
from unrolled.training.provenance import absolute_source, run_config, source_names
from unrolled.training.trainer import Job, Trainer
from unrolled.training.unwritable import advice_if_unwritable

DEFAULT_SOURCE = "builtin:stories"
DEFAULT_PRESET = "stories-fast"


def train(
    sources: str | Path | Sequence[str | Path] = (DEFAULT_SOURCE,),
    out: str | Path = "runs/stories",
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    valid: Sequence[str | Path] = (),
    init_from: str | Path | None = None,
    force: bool = False,
    listener: Listener = ignore,
    command: str = "",
    stdin: BinaryIO | None = None,
    signals: SignalHandling = stop_on_signals,
) -> Finished:
    """Train a language model on a text.

    Args:
        sources: files, directories, `file.csv:column`, `file.jsonl:field`, `-` for standard input, or
            `builtin:stories`.
        out: the run directory to make.
        preset: named settings; `stories-fast` by default.
        settings: dotted settings over the preset, e.g. `{"model.hidden_size": 512}`; earlier names are accepted, with a
            note.
        valid: validation text; without it the end of the text validates.
        init_from: a run whose weights, vocabulary and architecture this one starts from; its regularization too, where
            no preset is named.
        force: replace an existing run at `out`.
        listener: receives an event for everything that happens (`unrolled.training.events`).
        command: the command line, for the model card.
        stdin: what `-` reads.
        signals: the context in which a stop can be requested, from the first file of the run to the last.

    Returns:
        How it ended, with the figures of the best weights.

    Raises:
        UserError: anything that the user can fix.
    """
    base = None if init_from is None else open_base(RunFolder(init_from))
    chosen = make_settings(preset or DEFAULT_PRESET, settings)
    asked = by_current_names(settings or {})
    notes = [note for note in (note_on_moved(settings or {}),) if note is not None]
    if base is not None:
        chosen, of_base = settings_over_base(base, chosen, asked, preset)
        notes += of_base
    for note in notes:
        listener(Note(note))
    folder = RunFolder(out)
    folder.refuse_to_overwrite(force)
    check_machine(chosen)
    corpus = prepare_corpus(
        source_names(sources),
        chosen.data,
        valid_sources=source_names(valid),
        tokenizer=None if base is None else base.tokenizer,
        stdin=stdin,
    )
    chosen = _in_steps(chosen, corpus, "training.steps" in asked)
    config = run_config(chosen, corpus, preset or DEFAULT_PRESET, source_names(sources), command, base)
    about = {
        "sources": [absolute_source(source) for source in source_names(sources)],
        "valid_sources": [absolute_source(source) for source in source_names(valid)],
        "cache_key": corpus.cache_key,
    }
    import_optimizers()
    with signals() as stop, advice_if_unwritable(folder):
        folder.make()
        with run_lock(folder.path):
            folder.begin(config, corpus.tokenizer, force)
            weights = None if base is None else base.weights
            return run_job(folder, config, corpus, about, listener, weights, stop=stop)


def run_job(
    folder: RunFolder,
    config: RunConfig,
    corpus: Corpus,
    about: dict[str, Any],
    listener: Listener,
    weights: dict[str, torch.Tensor] | None = None,
    checkpoint: Checkpoint | None = None,
    *,
    stop: StopRequest,
) -> Finished:
    """Build the job, train, and write the picture and the card."""
    settings = config.settings
    for note in (*config.warnings, *corpus.notes):
        listener(Note(note))
    machine = choose_machine(settings, checkpoint)
    device, kernel = machine.device.device, machine.kernel.kernel
    if settings.training.threads:
        torch.set_num_threads(settings.training.threads)
    keep_freed_memory()
    model = LanguageModel(
        settings.model,
        config.vocabulary_size,
        torch.Generator().manual_seed(settings.training.seed),
        kernel,
        settings.regularization,
    )
    if weights is not None:
        model.load_state_dict(weights)
    model.to(device)
    batcher, note = _batcher(corpus, settings)
    if note is not None:
        listener(Note(note))
    about = {**about, **machine.noted(), "regularization": settings.regularization.model_dump()}
    _warn_of_other_threads(checkpoint, listener)
    trainer = Trainer(
        Job(model, corpus, batcher, settings.training, settings.sampling, folder, about), listener, checkpoint, stop
    )
    if checkpoint is not None:
        checkpoint.tensors.clear()  # copied by now; not kept in memory during training
    listener(
        Started(
            step=trainer.progress.step,
            steps=settings.training.steps,
            minutes=settings.training.minutes,
            device=str(device),
            device_reason=machine.device.reason,
            kernel=kernel.name,
            kernel_reason=machine.kernel.reason,
            precision=machine.precision.precision,
            precision_reason=machine.precision.reason,
            threads=torch.get_num_threads(),
            parameters=model.parameter_count(),
            vocabulary_size=config.vocabulary_size,
            train_tokens=corpus.train.tokens,
            valid_tokens=corpus.valid.tokens,
            batch_size=batcher.batch_size,
            window=batcher.window,
        )
    )
    if reason := trainer.end_reason():
        listener(Note(f"There is nothing left to do: {reason}. Continue with more --steps or --minutes."))
    finished = trainer.train()
    finished = _with_picture(folder, finished, stop)
    write_card(folder.card, folder.name, config, model.parameter_count(), finished.best)
    listener(finished)
    return finished


def _with_picture(folder: RunFolder, finished: Finished, stop: StopRequest) -> Finished:
    """Draw the losses, if there are any; return how the run ended: as interrupted if the picture was left out.

    After Ctrl-C during training the picture is still drawn (a second Ctrl-C ends the command); after SIGTERM it is not.
    """
    metrics = read_metrics(folder.metrics)
    if not metrics or (finished.interrupted and stop.signal == signal.SIGTERM):
        return finished
    look = None if finished.interrupted else stop.check
    try:
        draw_loss(folder.picture, metrics, f"{folder.name}: loss", look)
    except Stopped:
        reason = f"{finished.reason}; stopped by a signal before {folder.picture.name} was drawn"
        return dataclasses.replace(finished, reason=reason, interrupted=True)
    return finished


def _batcher(corpus: Corpus, settings: Settings) -> tuple[RandomWindows | Streams, str | None]:
    """Return the batcher, shrunk where the text is too small, and a note about that."""
    training = settings.training
    batch_size, window, note = fit_to_text(corpus.train.tokens, training.batch_size, training.window, training.batching)
    if training.batching == "streams":
        return Streams(corpus.train.ids, batch_size, window), note
    generator = torch.Generator().manual_seed(training.seed + 1)
    return RandomWindows(corpus.train.ids, batch_size, window, generator), note


def _in_steps(chosen: Settings, corpus: Corpus, steps_asked: bool) -> Settings:
    """Turn passes over the text into steps; steps given by the user take precedence over the passes of a preset."""
    training = chosen.training
    per_epoch = _batcher(corpus, chosen)[0].batches_per_epoch
    changes: dict[str, Any] = {}
    if training.epochs is not None:
        changes = {"epochs": None} if steps_asked else {"steps": math.ceil(training.epochs * per_epoch)}
    if training.eval_interval == 0:
        changes["eval_interval"] = per_epoch
    return chosen.model_copy(update={"training": training.model_copy(update=changes)})


def _warn_of_other_threads(checkpoint: Checkpoint | None, listener: Listener) -> None:
    """Sums are split among threads, so another number of threads rounds differently."""
    before = None if checkpoint is None else checkpoint.counters.get("threads")
    if before is not None and before != torch.get_num_threads():
        listener(
            Note(
                f"This run was trained with {before} threads and continues with {torch.get_num_threads()}: the numbers "
                f"will differ in their last digits; for the same bits set training.threads={before} at the start."
            )
        )

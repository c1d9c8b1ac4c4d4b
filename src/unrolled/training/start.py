"""Begin a run, or go on with one: everything that stands between a command and the training loop."""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from unrolled.config import Settings, make_settings, settings_from_values
from unrolled.data import Corpus, RandomWindows, Streams, fit_to_text, open_cached, prepare_corpus
from unrolled.errors import UserError
from unrolled.kernels import available_kernels, select_kernel
from unrolled.kernels.native import native_status
from unrolled.nn import LanguageModel, choose_device
from unrolled.runs import (
    Checkpoint,
    RunConfig,
    RunFolder,
    alone_in,
    draw_loss,
    read_checkpoint,
    read_metrics,
    read_weights,
    write_card,
)
from unrolled.runs.weights import file_sha256
from unrolled.text import Tokenizer
from unrolled.training.events import Finished, Listener, Note, Started, ignore
from unrolled.training.memory import keep_freed_memory
from unrolled.training.trainer import Job, Trainer, TrainingState
from unrolled.version import __version__

DEFAULT_SOURCE = "builtin:stories"
DEFAULT_PRESET = "stories-fast"
STEPS_WITHOUT_LIMIT = 10**9


@dataclasses.dataclass(frozen=True)
class Base:
    """A run whose weights another one starts from."""

    settings: Settings
    tokenizer: Tokenizer
    weights: dict[str, torch.Tensor]
    sha256: str
    warnings: Sequence[str] = ()


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
) -> Finished:
    """Train a language model of a text.

    Args:
        sources: files, directories, `file.csv:column`, `file.jsonl:field`, `-` for standard input, or
            `builtin:stories`.
        out: the run directory to make.
        preset: named settings; `stories-fast` when none is given.
        settings: dotted settings over the preset, e.g. `{"model.hidden_size": 512}`.
        valid: validation text; without it the end of the text validates.
        init_from: a run whose weights, vocabulary and architecture this one starts from.
        force: replace a run that stands at `out`.
        listener: is told of everything that happens (`unrolled.training.events`).
        command: the command line, for the model card.
        stdin: what `-` reads.

    Returns:
        How it ended, with the figures of the best weights.

    Raises:
        UserError: anything that the user can put right.
    """
    base = None if init_from is None else _open_base(RunFolder(init_from))
    chosen = make_settings(preset or DEFAULT_PRESET, settings)
    if base is not None:
        chosen = _with_architecture_of(base, chosen, settings or {})
        chosen = _with_tokens_of(base, chosen, settings or {}, preset)
    folder = RunFolder(out)
    folder.refuse_to_overwrite(force)
    _check_machine(chosen)
    corpus = prepare_corpus(
        _texts(sources),
        chosen.data,
        valid_sources=_texts(valid),
        tokenizer=None if base is None else base.tokenizer,
        stdin=stdin,
    )
    chosen = _in_steps(chosen, corpus, "training.steps" in (settings or {}))
    config = _config(chosen, corpus, preset or DEFAULT_PRESET, _texts(sources), command, base)
    about = {
        "sources": [_absolute(source) for source in _texts(sources)],
        "valid_sources": [_absolute(source) for source in _texts(valid)],
        "cache_key": corpus.cache_key,
    }
    folder.make()
    with alone_in(folder.path):
        folder.begin(config, corpus.tokenizer, force)
        return _run(folder, config, corpus, about, listener, None if base is None else base.weights)


def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    device: str | None = None,
    listener: Listener = ignore,
) -> Finished:
    """Go on with a run exactly where it stopped.

    Args:
        run: the run directory.
        steps: a new number of steps in all.
        minutes: a budget of so many minutes from now; where all steps are done, only the minutes count.
        device: another device than the run began on; files never depend on one.
        listener: is told of everything that happens.

    Raises:
        UserError: the run cannot be gone on with; the sentence says what can be done instead.
    """
    folder = RunFolder(run)
    config = folder.read_config()
    tokenizer = folder.read_tokenizer(config)
    checkpoint = read_checkpoint(folder.checkpoint)
    about = _where_the_text_is(folder, checkpoint)
    if steps is not None or minutes is not None:
        config, checkpoint = _with_more(config, checkpoint, steps, minutes)
    if device is not None:
        config = _with_training(config, device=device)
    _check_machine(config.settings)
    corpus = _same_corpus(about, config, tokenizer)
    with alone_in(folder.path):
        folder.remove_leftovers()
        folder.write_config(config)
        return _run(folder, config, corpus, about, listener, checkpoint=checkpoint)


def _run(
    folder: RunFolder,
    config: RunConfig,
    corpus: Corpus,
    about: dict[str, Any],
    listener: Listener,
    weights: dict[str, torch.Tensor] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Finished:
    """Build the job, train, and write the picture and the card."""
    settings = config.settings
    for note in (*config.warnings, *corpus.notes):
        listener(Note(note))
    choice = choose_device(settings.training.device)
    kernel = select_kernel(settings.training.kernel, choice.device.type)
    if settings.training.threads:
        torch.set_num_threads(settings.training.threads)
    keep_freed_memory()
    model = LanguageModel(
        settings.model, config.vocabulary_size, torch.Generator().manual_seed(settings.training.seed), kernel.kernel
    )
    if weights is not None:
        model.load_state_dict(weights)
    model.to(choice.device)
    batcher, note = _batcher(corpus, settings)
    if note is not None:
        listener(Note(note))
    about = {**about, "threads": torch.get_num_threads()}
    _warn_of_other_threads(checkpoint, listener)
    trainer = Trainer(
        Job(model, corpus, batcher, settings.training, settings.sampling, folder, about), listener, checkpoint
    )
    listener(
        Started(
            step=trainer.at.step,
            steps=settings.training.steps,
            minutes=settings.training.minutes,
            device=str(choice.device),
            device_reason=choice.reason,
            kernel=kernel.kernel.name,
            kernel_reason=kernel.reason,
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
        listener(Note(f"There is nothing left to do: {reason}. Go on with more --steps, or --minutes."))
    finished = trainer.train()
    draw_loss(folder.picture, read_metrics(folder.metrics), f"{folder.name}: loss")
    write_card(folder.card, folder.name, config, model.parameter_count(), finished.best)
    listener(finished)
    return finished


def _check_machine(settings: Settings) -> None:
    """Tell of a missing GPU or kernel before the text is read and a run begun."""
    choose_device(settings.training.device)
    name = settings.training.kernel
    if name != "auto" and name not in available_kernels():
        raise UserError(f"The kernel {name} is not available here ({native_status()}); use --set training.kernel=auto.")


def _batcher(corpus: Corpus, settings: Settings) -> tuple[RandomWindows | Streams, str | None]:
    """Return the batcher, shrunk where the text is too small, and a note about that."""
    training = settings.training
    batch_size, window, note = fit_to_text(corpus.train.tokens, training.batch_size, training.window, training.batching)
    if training.batching == "streams":
        return Streams(corpus.train.ids, batch_size, window), note
    generator = torch.Generator().manual_seed(training.seed + 1)
    return RandomWindows(corpus.train.ids, batch_size, window, generator), note


def _in_steps(chosen: Settings, corpus: Corpus, steps_asked: bool) -> Settings:
    """Turn passes over the text into steps; steps that were asked for win over the passes of a preset."""
    training = chosen.training
    per_epoch = _batcher(corpus, chosen)[0].batches_per_epoch
    changes: dict[str, Any] = {}
    if training.epochs is not None:
        changes = {"epochs": None} if steps_asked else {"steps": math.ceil(training.epochs * per_epoch)}
    if training.eval_interval == 0:
        changes["eval_interval"] = per_epoch
    return chosen.model_copy(update={"training": training.model_copy(update=changes)})


def _open_base(folder: RunFolder) -> Base:
    config = folder.read_config()
    tokenizer = folder.read_tokenizer(config)
    shapes = LanguageModel.shapes(config.settings.model, config.vocabulary_size)
    weights, _ = read_weights(folder.weights, shapes, config.tokenizer_sha256)
    return Base(config.settings, tokenizer, weights, file_sha256(folder.weights), config.warnings)


def _with_architecture_of(base: Base, chosen: Settings, asked: Mapping[str, Any]) -> Settings:
    """Take the base's architecture; say so where another one was asked for."""
    fixed = base.settings.model.model_dump()
    wanted = chosen.model.model_dump()
    clashes = [
        f"{name} is {fixed[key]} there"
        for name, key in ((name, name.partition(".")[2]) for name in asked if name.startswith("model."))
        if key != "dropout" and wanted[key] != fixed[key]
    ]
    if clashes:
        raise UserError(
            f"The run to start from has another architecture: {'; '.join(clashes)}. Leave these settings out."
        )
    dropout = wanted["dropout"] if "model.dropout" in asked else fixed["dropout"]
    return chosen.model_copy(update={"model": base.settings.model.model_copy(update={"dropout": dropout})})


def _with_tokens_of(base: Base, chosen: Settings, asked: Mapping[str, Any], preset: str | None) -> Settings:
    """Take the base's kind of tokens, and its way of splitting unless another one was asked for.

    Raises:
        UserError: another kind of tokens was asked for.
    """
    kind = base.tokenizer.kind
    if "data.tokenizer" in asked and chosen.data.tokenizer != kind:
        raise UserError(f"The run to start from has a vocabulary of kind {kind}; leave data.tokenizer out.")
    inherited = {"tokenizer": kind}
    if preset is None:
        names = ("split", "valid_fraction", "test_fraction", "split_seed", "speaker_column")
        inherited |= {name: getattr(base.settings.data, name) for name in names if f"data.{name}" not in asked}
    values = {**chosen.data.model_dump(), **inherited}
    return settings_from_values({**chosen.model_dump(), "data": values})


def _config(
    settings: Settings, corpus: Corpus, preset: str, sources: list[str], command: str, base: Base | None
) -> RunConfig:
    return RunConfig(
        settings=settings,
        vocabulary_size=corpus.tokenizer.vocabulary_size,
        tokenizer_sha256=corpus.tokenizer.fingerprint,
        preset=preset,
        corpus={
            "names": [_public_name(source) for source in sources],
            "content_sha256": corpus.content_sha256,
            "train_tokens": corpus.train.tokens,
            "train_characters": corpus.train.characters,
            "valid_tokens": corpus.valid.tokens,
            "valid_characters": corpus.valid.characters,
            **_size_of_test(corpus),
        },
        made_with={
            "unrolled": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
        },
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        command=command,
        fine_tuned_from=None if base is None else base.sha256,
        warnings=[] if base is None else list(base.warnings),
    )


def _size_of_test(corpus: Corpus) -> dict[str, int]:
    test = corpus.test
    return {} if test is None else {"test_tokens": test.tokens, "test_characters": test.characters}


def _where_the_text_is(folder: RunFolder, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a checkpoint knows of its text, once its counters are known to be sound."""
    about = {name: checkpoint.counters.get(name) for name in ("sources", "valid_sources", "cache_key")}
    lists = [about["sources"], about["valid_sources"]]
    sound = isinstance(about["cache_key"], str) and all(isinstance(texts, list) for texts in lists)
    try:
        TrainingState.of(checkpoint)
    except ValueError:
        sound = False
    if not sound or not all(isinstance(text, str) for texts in lists for text in texts):
        raise UserError(
            f"{folder.checkpoint} is not the checkpoint of a run; start from the best weights with --init-from."
        )
    return about


def _with_more(
    config: RunConfig, checkpoint: Checkpoint, steps: int | None, minutes: float | None
) -> tuple[RunConfig, Checkpoint]:
    """Give a run more steps or minutes, and lift the limit that ended it: who asks for more wants to get it."""
    at, settings = TrainingState.of(checkpoint), config.settings
    asked = {"training.steps": steps, "training.minutes": minutes}
    make_settings(overrides={name: value for name, value in asked.items() if value is not None})
    changes: dict[str, Any] = {} if steps is None else {"steps": steps}
    if minutes is not None:
        changes["minutes"] = at.seconds / 60 + minutes
        if steps is None and at.step >= settings.training.steps:
            changes["steps"] = STEPS_WITHOUT_LIMIT
    elif settings.training.minutes is not None and at.seconds >= 60 * settings.training.minutes:
        changes["minutes"] = None
    at.evaluations_without_better = 0
    counters = {**checkpoint.counters, "training": dataclasses.asdict(at)}
    return _with_training(config, **changes), dataclasses.replace(checkpoint, counters=counters)


def _with_training(config: RunConfig, **changes: Any) -> RunConfig:
    """Return the configuration with some training settings changed, validated."""
    values = config.settings.model_dump()
    settings = settings_from_values({**values, "training": {**values["training"], **changes}})
    return dataclasses.replace(config, settings=settings)


def _same_corpus(about: dict[str, Any], config: RunConfig, tokenizer: Tokenizer) -> Corpus:
    """Find the encoded text in the cache, or encode it again from its sources.

    Raises:
        UserError: the text is gone or has changed.
    """
    corpus = open_cached(about["cache_key"])
    if corpus is not None and _is_the_same(corpus, about, config, tokenizer):
        return corpus
    sources, valid_sources = about["sources"], about["valid_sources"]
    if "-" in sources + valid_sources:
        raise UserError(
            "The text came from standard input and is no longer in the cache, so the run cannot be resumed; start from "
            "its weights with --init-from and the text."
        )
    fine_tuned = config.fine_tuned_from is not None
    corpus = prepare_corpus(
        sources,
        config.settings.data,
        valid_sources=valid_sources,
        tokenizer=tokenizer if fine_tuned else None,
    )
    if not _is_the_same(corpus, about, config, tokenizer):
        raise UserError(
            f"The text in {', '.join(sources + valid_sources)} has changed since the run began, so it cannot be "
            "resumed exactly; put the old text back, or start from the run's weights with --init-from."
        )
    return corpus


def _is_the_same(corpus: Corpus, about: dict[str, Any], config: RunConfig, tokenizer: Tokenizer) -> bool:
    """Tell whether a corpus is the run's own; the key is a hash of the text, the validation text and the split."""
    return (
        corpus.cache_key == about["cache_key"]
        and corpus.content_sha256 == config.corpus.get("content_sha256")
        and corpus.tokenizer.fingerprint == tokenizer.fingerprint
    )


def _warn_of_other_threads(checkpoint: Checkpoint | None, listener: Listener) -> None:
    """Sums are split among the threads, so another number of them rounds differently."""
    before = None if checkpoint is None else checkpoint.counters.get("threads")
    if before is not None and before != torch.get_num_threads():
        listener(
            Note(
                f"This run was trained with {before} threads and goes on with {torch.get_num_threads()}: the numbers "
                f"will differ in their last digits; for the same bits set training.threads={before} at the start."
            )
        )


def _texts(sources: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(sources)] if isinstance(sources, (str, Path)) else [str(source) for source in sources]


def _absolute(source: str) -> str:
    """Make a source independent of the working directory; only the checkpoint holds this, never a file to be shared."""
    return source if source == "-" or source.startswith("builtin:") else str(Path(source).absolute())


def _public_name(source: str) -> str:
    """Return a source's name without the folders above it."""
    if source == "-" or source.startswith("builtin:"):
        return {"-": "standard input"}.get(source, source)
    table = None if Path(source).exists() else re.search(r"\.(csv|jsonl|ndjson):", source, re.IGNORECASE)
    path, column = (source, "") if table is None else (source[: table.end() - 1], source[table.end() - 1 :])
    return Path(os.path.abspath(path)).name + column

"""Resume a run exactly where it stopped: the same text, settings and state.

The text is found in the cache by the key in the checkpoint, or encoded again from its sources; a text that has changed
is refused, because training on it would not be a continuation.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from unrolled.config import make_settings, settings_from_values
from unrolled.data import Corpus, open_cached, prepare_corpus
from unrolled.errors import UserError
from unrolled.nn import LanguageModel
from unrolled.runs import Checkpoint, RunConfig, RunFolder, read_checkpoint, read_metrics, run_lock
from unrolled.runs.safetensors_file import LARGEST_HEADER_BYTES
from unrolled.text import Tokenizer
from unrolled.training.computing import check_machine
from unrolled.training.events import Finished, Listener, ignore
from unrolled.training.interrupts import SignalHandling, stop_on_signals
from unrolled.training.optimizers.optimizer import import_optimizers
from unrolled.training.progress import Progress
from unrolled.training.start import run_job
from unrolled.training.unwritable import advice_if_unwritable

STEPS_WITHOUT_LIMIT = 10**9
FLOAT_BYTES = 4
GENERATORS_BYTES = 2**20  # the states of random generators, and counters that are tensors


def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    device: str | None = None,
    listener: Listener = ignore,
    signals: SignalHandling = stop_on_signals,
) -> Finished:
    """Resume a run exactly where it stopped.

    Args:
        run: the run directory.
        steps: a new number of steps in all.
        minutes: a budget in minutes from now; if all steps are done, only the minutes count.
        device: another device than the run began on; files do not depend on the device.
        listener: receives an event for everything that happens.
        signals: the context in which a stop can be requested, from the first file that is written to the last.

    Raises:
        UserError: the run cannot be resumed; the sentence says what can be done instead.
    """
    folder = RunFolder(run)
    config = folder.read_config()
    tokenizer = folder.read_tokenizer(config)
    checkpoint = read_checkpoint(folder.checkpoint, _largest_checkpoint_bytes(config))
    read_metrics(folder.metrics)  # a file that cannot be read is found before anything is written
    about = _where_the_text_is(folder, checkpoint)
    _refuse_another_regularization(folder, config, checkpoint)
    if steps is not None or minutes is not None:
        config, checkpoint = _with_more(config, checkpoint, steps, minutes)
    if device is not None:
        config = _with_training(config, device=device)
    check_machine(config.settings)
    corpus = _same_corpus(about, config, tokenizer)
    import_optimizers()
    with signals() as stop, advice_if_unwritable(folder), run_lock(folder.path):
        folder.remove_leftovers()
        folder.write_config(config)
        return run_job(folder, config, corpus, about, listener, checkpoint=checkpoint, stop=stop)


def _largest_checkpoint_bytes(config: RunConfig) -> int:
    """Return the largest size of a checkpoint: weights, two moments of each, a hidden state, counters."""
    model = config.settings.model
    weights = sum(shape.numel() for shape in LanguageModel.shapes(model, config.vocabulary_size).values())
    state = 2 * model.layers * config.settings.training.batch_size * model.hidden_size
    return FLOAT_BYTES * (3 * weights + state) + LARGEST_HEADER_BYTES + GENERATORS_BYTES


def _where_the_text_is(folder: RunFolder, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a checkpoint records about its text, after checking that its counters are valid."""
    about = {name: checkpoint.counters.get(name) for name in ("sources", "valid_sources", "cache_key")}
    lists = [about["sources"], about["valid_sources"]]
    sound = isinstance(about["cache_key"], str) and all(isinstance(texts, list) for texts in lists)
    try:
        Progress.from_checkpoint(checkpoint)
    except ValueError:
        sound = False
    if not sound or not all(isinstance(text, str) for texts in lists for text in texts):
        raise UserError(
            f"{folder.checkpoint} is not the checkpoint of a run; start from the best weights with --init-from."
        )
    return about


def _refuse_another_regularization(folder: RunFolder, config: RunConfig, checkpoint: Checkpoint) -> None:
    """Refuse a configuration that was edited by hand: what followed would not be a continuation of the run.

    Checkpoints of the first format do not say how the run was regularized.
    """
    begun = checkpoint.counters.get("regularization")
    now = config.settings.regularization.model_dump()
    known = begun if isinstance(begun, dict) else {}
    changed = [name for name in now if name in known and known[name] != now[name]]
    if not changed:
        return
    listed = "; ".join(f"regularization.{name} is {now[name]} and was {known[name]}" for name in changed)
    raise UserError(
        f"{folder.config} has changed since the run began ({listed}), so it cannot be resumed exactly; put the old "
        "values back, or start a new run from its weights with --init-from and --set."
    )


def _with_more(
    config: RunConfig, checkpoint: Checkpoint, steps: int | None, minutes: float | None
) -> tuple[RunConfig, Checkpoint]:
    """Give a run more steps or minutes, and lift the limit that ended it, which would make them useless."""
    at, settings = Progress.from_checkpoint(checkpoint), config.settings
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

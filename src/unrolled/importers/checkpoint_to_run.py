"""A checkpoint from elsewhere becomes an ordinary run: found, opened, recognised, given a tokenizer, written.

Nothing is written before all of it is known to be sound. What the user of the model must know (a vocabulary that does
not fit, a placeholder) goes into the run's configuration, and thus to all users.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from unrolled.config import SamplingSettings, Settings, settings_from_values
from unrolled.importers.checkpoint_file import read_hashed_checkpoint
from unrolled.importers.foreign import ForeignModel
from unrolled.importers.layouts import GATE_BY_GATE, read_model
from unrolled.importers.search import checkpoint_in, vocabulary_beside
from unrolled.importers.tensors import state_dict_of
from unrolled.importers.vocabulary import NEW_ROW, Reconciled, reconciled
from unrolled.importers.vocabulary_file import listed_words, read_vocabulary, words_of
from unrolled.runs import BestWeights, RunConfig, RunFolder, run_lock, write_card, write_weights
from unrolled.text import Tokenizer
from unrolled.version import __version__

NAMES_OF_VOCABULARIES = ("itos", "stoi", "vocab", "idx2word", "word2idx")
WORDS_AT_MOST, TEMPERATURE = 40, 0.8  # what the word model's authors write with
UNKNOWN_BELOW_NATS = 30.0  # e^-30: below the resolution of float32 next to the other probabilities


@dataclasses.dataclass(frozen=True)
class Imported:
    """A run that was made of a checkpoint.

    Attributes:
        run: its folder.
        checkpoint: the file that it was made of.
        layout: what the checkpoint was recognised as.
        config: the run's configuration, `warnings` included.
        vocabulary: where the words came from; none for a placeholder.
        hidden_sizes: of the checkpoint's layers, lowest first.
        parameters: how many numbers the model has.
    """

    run: RunFolder
    checkpoint: Path
    layout: str
    config: RunConfig
    vocabulary: str | None
    hidden_sizes: tuple[int, ...]
    parameters: int


def import_checkpoint(
    checkpoint: str | Path,
    out: str | Path,
    vocabulary: str | Path | None = None,
    *,
    force: bool = False,
    command: str = "",
) -> Imported:
    """Make a run of a checkpoint from elsewhere.

    Args:
        checkpoint: a `.pt` file, or a folder with one.
        out: the run directory to make.
        vocabulary: a file with its words; without it, the one in or next to the checkpoint, else a placeholder.
        force: replace an existing run at `out`.
        command: the command line, for the model card.

    Raises:
        UserError: a file is missing, damaged or hostile, no layout or more than one matches, or nothing can be written.
    """
    path, folder = Path(checkpoint), RunFolder(out)
    folder.refuse_to_overwrite(force)
    path = checkpoint_in(path) if path.is_dir() else path
    content, sha256 = read_hashed_checkpoint(path)
    model = read_model(state_dict_of(content, path), path)
    words, source = _words(content, path, vocabulary, model.layout == GATE_BY_GATE)
    fitted = reconciled(words, model.vocabulary_size, source, characters=model.layout == GATE_BY_GATE)
    origin = {"file": path.name, "sha256": sha256, "layout": model.layout}
    config, weights = _config(model, fitted, origin, command), _with_rows(model.weights(), fitted.rows)
    _write(folder, config, fitted.tokenizer, weights, force)
    sizes = tuple(layer.hidden_size for layer in model.layers)
    return Imported(folder, path, model.layout, config, source or None, sizes, _count(weights))


@contextlib.contextmanager
def temporary_run(folder: Path) -> Iterator[RunFolder]:
    """Make a run of the checkpoint in a folder, for as long as it is used; it has the folder's name.

    Raises:
        UserError: see `import_checkpoint`.
    """
    home = Path(tempfile.mkdtemp(prefix="unrolled-import-"))
    try:
        yield import_checkpoint(folder, home / (folder.resolve().name or "model")).run
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _words(
    content: object, checkpoint: Path, vocabulary: str | Path | None, characters: bool
) -> tuple[Sequence[str] | None, str]:
    """Return the vocabulary and what to call its source; None if there is no vocabulary."""
    if vocabulary is not None:
        return read_vocabulary(Path(vocabulary)), Path(vocabulary).name
    for name in NAMES_OF_VOCABULARIES:
        if isinstance(content, dict) and name in content and (words := listed_words(content[name])) is not None:
            return words_of(words, checkpoint), f"{name} in {checkpoint.name}"
    path = vocabulary_beside(checkpoint, characters)
    return (None, "") if path is None else (read_vocabulary(path), path.name)


def _write(folder: RunFolder, config: RunConfig, tokenizer: Tokenizer, weights: dict[str, Tensor], force: bool) -> None:
    folder.make()
    with run_lock(folder.path):
        folder.begin(config, tokenizer, force)
        write_weights(folder.weights, weights, BestWeights(0, None, config.tokenizer_sha256))
        write_card(folder.card, folder.name, config, _count(weights), None)


def _count(weights: dict[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in weights.values())


def _config(model: ForeignModel, fitted: Reconciled, origin: dict[str, str], command: str) -> RunConfig:
    return RunConfig(
        settings=_settings(model, fitted.tokenizer.kind),
        vocabulary_size=fitted.tokenizer.vocabulary_size,
        tokenizer_sha256=fitted.tokenizer.fingerprint,
        made_with={"unrolled": __version__, "torch": torch.__version__},
        imported_from=origin,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        command=command,
        warnings=list(fitted.warnings),
    )


def _settings(model: ForeignModel, kind: str) -> Settings:
    """Return settings with the checkpoint's architecture; the others only matter for training on from it."""
    sampling = SamplingSettings(max_tokens=WORDS_AT_MOST, temperature=TEMPERATURE) if kind == "word" else None
    values = {"model": model.settings().model_dump(), "data": {"tokenizer": kind}}
    return settings_from_values(values if sampling is None else {**values, "sampling": sampling.model_dump()})


def _with_rows(weights: dict[str, Tensor], rows: Sequence[int] | None) -> dict[str, Tensor]:
    """Put the rows of the vocabulary into the tokenizer's order.

    A new row, for unknown characters, reads as row 0 does and is written e^-30 times as often, so that the
    probabilities of the others stay what they are to the last digit of float32.
    """
    if rows is None:
        return weights
    order = torch.tensor([0 if row == NEW_ROW else row for row in rows])
    lowered = torch.tensor([UNKNOWN_BELOW_NATS if row == NEW_ROW else 0.0 for row in rows])
    by_row = {name: weights[name][order] for name in ("embedding", "output_weight", "output_bias") if name in weights}
    return {**weights, **by_row, "output_bias": by_row["output_bias"] - lowered}

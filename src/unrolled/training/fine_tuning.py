"""Fine-tuning: a run that starts from the weights of another one, its base.

The weights decide the architecture and the vocabulary. The regularization and how the text is split come from the base
too, unless a preset is named; settings given individually override both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from unrolled.config import Settings, make_settings, preset_values, setting_names
from unrolled.errors import UserError
from unrolled.nn import LanguageModel
from unrolled.runs import RunFolder, read_weights
from unrolled.text import Tokenizer

ARCHITECTURE = tuple(name for name in setting_names() if name.startswith("model."))
VOCABULARY = ("data.tokenizer", "data.min_count", "data.vocabulary_size")
REGULARIZATION = tuple(name for name in setting_names() if name.startswith("regularization."))
SPLITTING = ("data.split", "data.valid_fraction", "data.test_fraction", "data.split_seed", "data.speaker_column")


@dataclasses.dataclass(frozen=True)
class Base:
    """A run whose weights another one starts from."""

    settings: Settings
    tokenizer: Tokenizer
    weights: dict[str, torch.Tensor]
    sha256: str
    warnings: Sequence[str] = ()


def open_base(folder: RunFolder) -> Base:
    """Read what fine-tuning takes from a run.

    Raises:
        UserError: there is no run, or one of its files is missing, damaged or from another run.
    """
    config = folder.read_config()
    tokenizer = folder.read_tokenizer(config)
    shapes = LanguageModel.shapes(config.settings.model, config.vocabulary_size)
    stored = read_weights(folder.weights, shapes, config.tokenizer_sha256)
    return Base(config.settings, tokenizer, stored.tensors, stored.sha256, config.warnings)


def settings_over_base(
    base: Base, chosen: Settings, given: Mapping[str, Any], preset: str | None
) -> tuple[Settings, list[str]]:
    """Return the settings of a run that starts from `base`, and notes for the user.

    Args:
        base: the run to start from.
        chosen: the settings of the preset and those that were given.
        given: the dotted names of the settings that were given by themselves.
        preset: the preset that was named, if one was.

    Raises:
        UserError: a setting was given that the weights of the base decide otherwise.
    """
    own, theirs = _flat(chosen), {**_flat(base.settings), "data.tokenizer": base.tokenizer.kind}
    _refuse_another_architecture(own, theirs, given)
    _refuse_another_vocabulary(own, theirs, given)
    inherited = {*ARCHITECTURE, *VOCABULARY}
    if preset is None:
        inherited |= {*REGULARIZATION, *SPLITTING} - set(given)
    merged = {name: theirs[name] if name in inherited else value for name, value in own.items()}
    return make_settings(overrides=merged), [] if preset is None else _notes(own, theirs, given, preset)


def _refuse_another_architecture(own: Mapping[str, Any], theirs: Mapping[str, Any], given: Iterable[str]) -> None:
    clashes = [name for name in given if name in ARCHITECTURE and own[name] != theirs[name]]
    if clashes:
        listed = "; ".join(f"{name} is {theirs[name]} there" for name in clashes)
        raise UserError(f"The run to start from has another architecture: {listed}. Leave these settings out.")


def _refuse_another_vocabulary(own: Mapping[str, Any], theirs: Mapping[str, Any], given: Iterable[str]) -> None:
    clashes = [name for name in given if name in VOCABULARY and own[name] != theirs[name]]
    if clashes:
        kind = theirs["data.tokenizer"]
        raise UserError(f"The run to start from has a vocabulary of kind {kind}; leave {' and '.join(clashes)} out.")


def _notes(own: Mapping[str, Any], theirs: Mapping[str, Any], given: Iterable[str], preset: str) -> list[str]:
    """Return what of a preset gives way to the base, and where its regularization differs from the base's."""
    in_preset = {f"{section}.{key}" for section, entries in preset_values(preset).items() for key in entries}
    differing = [name for name in own if own[name] != theirs[name] and name not in given]
    overridden = [
        f"{name} is {theirs[name]} and not {own[name]}"
        for name in differing
        if name in in_preset and name in (*ARCHITECTURE, *VOCABULARY)
    ]
    regularized = [f"{name} is {own[name]} ({theirs[name]} there)" for name in differing if name in REGULARIZATION]
    notes = [(f"The run to start from decides these settings of the preset {preset}", overridden)]
    notes += [(f"The preset {preset} regularizes otherwise than the run to start from", regularized)]
    return [f"{what}: {'; '.join(listed)}." for what, listed in notes if listed]


def _flat(settings: Settings) -> dict[str, Any]:
    """Return all settings by their dotted names."""
    sections = settings.model_dump()
    return {f"{section}.{key}": value for section, entries in sections.items() for key, value in entries.items()}

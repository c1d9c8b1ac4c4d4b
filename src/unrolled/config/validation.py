"""Building and validating settings; one message reports all problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from unrolled.config.listing import setting_names
from unrolled.config.messages import sentence, suggestion, validation_problems
from unrolled.config.overrides import current_names_and_problems, typed_value
from unrolled.config.presets import preset_values
from unrolled.config.sections import SamplingSettings, Settings
from unrolled.errors import UserError


def make_settings(
    preset: str | None = None, overrides: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None
) -> Settings:
    """Build settings from a preset and dotted overrides, e.g. `{"model.hidden_size": "512"}`.

    Values may be text from the command line or already typed. All problems are reported in one message. Old names of
    settings are accepted; `note_on_moved` reports them.

    Raises:
        UserError: the preset or a name is unknown, a value has the wrong type or is out of range, or a setting is
            given under both its old and its current name.
    """
    from_preset = {} if preset is None else preset_values(preset)
    values = {section: dict(entries) for section, entries in from_preset.items()}
    named, problems = current_names_and_problems(dict(() if overrides is None else overrides))
    for name, value in named.items():
        section, _, key = name.partition(".")
        if name not in setting_names():
            problems.append(f"there is no setting named {name!r} ({suggestion(name, setting_names())})")
        else:
            values.setdefault(section, {})[key] = typed_value(section, key, value)
    return settings_from_values(values, problems)


def settings_from_values(values: Mapping[str, Any], problems: Iterable[str] = ()) -> Settings:
    """Validate settings grouped by section, as in a preset or in a run's `config.json`.

    Raises:
        UserError: there are `problems`, or validation finds some; the message lists them all.
    """
    problems = list(problems)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += validation_problems(error)
    if problems:
        raise UserError(sentence(problems))
    return settings


def sampling_settings(values: Mapping[str, Any], defaults: SamplingSettings | None = None) -> SamplingSettings:
    """Validate sampling settings given by name without section, on top of `defaults`.

    Raises:
        UserError: a setting is unknown or invalid; the message lists all problems.
    """
    base = (SamplingSettings() if defaults is None else defaults).model_dump()
    try:
        return SamplingSettings.model_validate({**base, **values})
    except ValidationError as error:
        raise UserError(sentence(validation_problems(error, list(SamplingSettings.model_fields)))) from None

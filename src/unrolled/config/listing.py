"""The dotted names of all settings with their defaults and descriptions, and the ranges of sampling settings."""

from __future__ import annotations

import json

from unrolled.config.sections import SamplingSettings, Settings


def setting_names() -> list[str]:
    """Return the dotted name of every setting, in the order in which they are declared."""
    return [
        f"{section}.{key}" for section, field in Settings.model_fields.items() for key in field.annotation.model_fields
    ]


def setting_descriptions() -> list[tuple[str, str, str]]:
    """Return (dotted name, default as JSON, description) for every setting."""
    return [
        (f"{section}.{key}", json.dumps(entry.default), entry.description or "")
        for section, field in Settings.model_fields.items()
        for key, entry in field.annotation.model_fields.items()
    ]


def sampling_range(name: str) -> tuple[float, float]:
    """Return the lowest and the highest value of a numeric sampling setting."""
    rules = SamplingSettings.model_fields[name].metadata
    return next(rule.ge for rule in rules if hasattr(rule, "ge")), next(
        rule.le for rule in rules if hasattr(rule, "le")
    )

"""Every setting by its dotted name, with its default and description, and the range of each sampling setting."""

from __future__ import annotations

import json

from unrolled.config.sections import SamplingSettings, Settings


def setting_names() -> list[str]:
    """Return every dotted setting name in the order of the documentation."""
    return [
        f"{section}.{key}" for section, field in Settings.model_fields.items() for key in field.annotation.model_fields
    ]


def setting_descriptions() -> list[tuple[str, str, str]]:
    """Return (dotted name, default, description) for every setting."""
    return [
        (f"{section}.{key}", json.dumps(entry.default), entry.description or "")
        for section, field in Settings.model_fields.items()
        for key, entry in field.annotation.model_fields.items()
    ]


def sampling_range(name: str) -> tuple[float, float]:
    """Return the lowest and the highest value of a decoding setting that is a number."""
    rules = SamplingSettings.model_fields[name].metadata
    return next(rule.ge for rule in rules if hasattr(rule, "ge")), next(
        rule.le for rule in rules if hasattr(rule, "le")
    )

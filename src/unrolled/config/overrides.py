"""Settings given by dotted name, as with `--set`: renamed settings, and command-line text converted to values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from unrolled.config.messages import sentence, shown
from unrolled.config.sections import Settings
from unrolled.errors import UserError
from unrolled.strict_json import JsonProblem, parse_json

# Old name -> current name. Old names are still accepted wherever a user can write a setting.
RENAMED_SETTINGS = {
    "model.input_dropout": "regularization.input_dropout",
    "model.dropout": "regularization.dropout",
    "model.output_dropout": "regularization.output_dropout",
    "model.dropout_kind": "regularization.dropout_kind",
    "training.weight_decay": "regularization.weight_decay",
}


def by_current_names(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted settings with old names replaced by current ones.

    Raises:
        UserError: a setting is given under both names with different values.
    """
    named, problems = current_names_and_problems(overrides)
    if problems:
        raise UserError(sentence(problems))
    return named


def note_on_moved(names: Iterable[str]) -> str | None:
    """Return a sentence about the old names among these, or None if there are none."""
    moved = [f"{name} is now {RENAMED_SETTINGS[name]}" for name in dict.fromkeys(names) if name in RENAMED_SETTINGS]
    return f"{'; '.join(moved)}. The earlier name still works." if moved else None


def current_names_and_problems(overrides: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return settings under their current names, and a problem for each one that is given under both names."""
    named, problems = {}, []
    for name, value in overrides.items():
        current = RENAMED_SETTINGS.get(name, name)
        if current in named and str(named[current]) != str(value):
            problems.append(_clash(current, overrides))
        named[current] = value
    return named, problems


def typed_value(section: str, key: str, value: Any) -> Any:
    """Convert command-line text to None or a list if the setting allows it; pydantic converts everything else."""
    if not isinstance(value, str):
        return value
    annotation = Settings.model_fields[section].annotation.model_fields[key].annotation
    if value.lower() in ("none", "null") and type(None) in getattr(annotation, "__args__", ()):
        return None
    if key == "stop" and value.startswith("["):
        try:
            return parse_json(value)
        except JsonProblem:
            return value
    return value


def _clash(current: str, overrides: Mapping[str, Any]) -> str:
    earlier = next(name for name, now in RENAMED_SETTINGS.items() if now == current and name in overrides)
    return (
        f"{earlier} = {shown(overrides[earlier])} is now {current}, which is set to {shown(overrides[current])}; "
        f"leave out {earlier}"
    )

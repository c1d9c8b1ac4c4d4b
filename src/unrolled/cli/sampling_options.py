"""The sampling settings as command-line options, one for each field of `SamplingSettings`, with its description.

Without an option, the model's own setting applies, so no option has a default value.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from unrolled.config import SamplingSettings

METAVARS = {int: "N", float: "X", str: "TEXT"}


def sampling_options(settings_class: type[SamplingSettings] = SamplingSettings) -> Callable[[Any], Any]:
    """Return a decorator that adds an option for each setting to a command; options not given are None or ()."""

    def add(command: Any) -> Any:
        for name, field in reversed(settings_class.model_fields.items()):
            command = _option(name, field)(command)
        return command

    return add


def _option(name: str, field: FieldInfo) -> Callable[[Any], Any]:
    kind = _kind(field.annotation)
    words = (field.description or name) + ("; may be repeated" if "multiple" in kind else "")
    help_text = f"{words[0].upper()}{words[1:]}.  [default: the model's own]"
    return click.option(f"--{name.replace('_', '-')}", help=help_text, **kind)


def _kind(annotation: Any) -> dict[str, Any]:
    """Return click's options for a type; choices are validated with all other settings, not by click."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not types.NoneType)
    if get_origin(annotation) is Literal:
        return {"type": str, "metavar": "|".join(get_args(annotation))}
    if get_origin(annotation) is tuple:
        return {"type": str, "metavar": METAVARS[str], "multiple": True}
    return {"type": annotation, "metavar": METAVARS[annotation]}

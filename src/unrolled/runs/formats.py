"""The version of the run directory's format and the upgrades that lead to it.

`UPGRADES` only ever grows at its end: the upgrade at index k turns the `config.json` of format version k into that of
version k + 1, and its name says what changed. A run written by any earlier release can therefore always be opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unrolled.errors import UserError

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


def first_format(config: dict[str, Any]) -> dict[str, Any]:
    """Version 1, the first that was released; there is no earlier one."""
    return config


def section_regularization(config: dict[str, Any]) -> dict[str, Any]:
    """Version 2: dropouts and weight decay have left `model` and `training` for a section `regularization`."""
    sections = {
        "model": ("input_dropout", "dropout", "output_dropout", "dropout_kind"),
        "training": ("weight_decay",),
    }
    regularization: dict[str, Any] = {}
    for section, names in sections.items():
        values = config.get(section)
        if isinstance(values, dict):  # where it is not, validation says so
            regularization |= {name: values[name] for name in names if name in values}
            config = {**config, section: {name: value for name, value in values.items() if name not in names}}
    return {**config, "regularization": regularization}


UPGRADES: tuple[Upgrade, ...] = (first_format, section_regularization)
FORMAT_VERSION = len(UPGRADES)


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in today's format.

    Raises:
        UserError: it comes from a newer release, or names no version that ever was.
    """
    version = config.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UserError(
            f"config.json has the format version {version!r}, which never existed; is it a run of unrolled?"
        )
    if version > FORMAT_VERSION:
        raise UserError(
            f"The run has format version {version} and this release knows {FORMAT_VERSION}: upgrade unrolled to open "
            "it."
        )
    for upgrade in UPGRADES[version:]:
        config = upgrade(config)
    return {**config, "format_version": FORMAT_VERSION}

"""The presets in the package, one TOML file each in `unrolled/presets/`."""

from __future__ import annotations

import sys
from importlib import resources
from typing import Any

from unrolled.config.messages import unknown_name
from unrolled.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def preset_names() -> list[str]:
    """Return the sorted names of the presets in the package."""
    folder = resources.files("unrolled") / "presets"
    return sorted(entry.name[: -len(".toml")] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def preset_values(name: str) -> dict[str, dict[str, Any]]:
    """Return a preset's values by section.

    Raises:
        UserError: the preset does not exist; the closest names are suggested.
    """
    names = preset_names()
    if name not in names:
        raise UserError(unknown_name("preset", name, names))
    return tomllib.loads((resources.files("unrolled") / "presets" / f"{name}.toml").read_text("utf-8"))

"""The command as it was typed, as a model card may show it: without the folders of this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def typed_command() -> str:
    """Return the command line with the name of a file in place of its path."""
    return shlex.join(["unrolled", *map(_without_folders, sys.argv[1:])])


def _without_folders(argument: str) -> str:
    """Return an argument with a path of this machine turned into a name."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    path = Path(value)
    return option + equals + (path.name if path.is_absolute() or ".." in path.parts else value)

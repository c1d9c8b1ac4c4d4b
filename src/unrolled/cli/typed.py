"""The command as typed, in a form fit for a model card, and the commands to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from unrolled.cli.printing import printable


def typed_command() -> str:
    """Return the command line with file names in place of paths, so that it reveals no folders of this machine."""
    return shlex.join(["unrolled", *map(_without_folders, sys.argv[1:])])


def own_name() -> str:
    """Return how to call this program: its path if its name alone would not be found."""
    if shutil.which("unrolled") is not None or Path(sys.argv[0]).name != "unrolled":
        return "unrolled"
    return shlex.quote(os.path.relpath(sys.argv[0]))


def resume_command(run: str) -> str:
    """Return the command that continues a run."""
    return f"{own_name()} train --resume {shlex.quote(printable(run))}"


def start_over_command(run: str, begun: bool) -> str:
    """Return the command that starts the training again; a run that was begun is replaced."""
    command, *words = sys.argv[1:]
    named = any(word == "--out" or word.startswith("--out=") for word in words)
    added = ["--out", run] if begun and not named else []
    added += ["--force"] if begun and "--force" not in words else []
    return f"{own_name()} {shlex.join([command, *added, *map(printable, words)])}"


def _without_folders(argument: str) -> str:
    """Return an argument with a path reduced to its file name."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    path = Path(value)
    return option + equals + (path.name if path.is_absolute() or ".." in path.parts else value)

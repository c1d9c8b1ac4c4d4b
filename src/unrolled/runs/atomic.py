"""Writing a file of a run whole or not at all, with a plain sentence where it fails; see `unrolled.atomic_write`."""

from __future__ import annotations

import errno
from pathlib import Path

from unrolled.atomic_write import replace_file
from unrolled.errors import UserError


class Unwritable(UserError):
    """A file could not be written. The advice depends on what the file was for, so callers add it."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write `path` with `content`.

    Raises:
        Unwritable: the disk is full, or the folder cannot be written; an existing file at `path` is unchanged.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> Unwritable:
    """Return the plain sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unwritable(
            f"The disk is full: {path.name} could not be written in {path.parent}; make room there, then try again."
        )
    if error.errno == errno.EFBIG:
        return Unwritable(
            f"{path} cannot be written ({error.strerror}); raise the limit on the size of a file (ulimit -f), or "
            "choose a folder on another disk."
        )
    return Unwritable(f"{path} cannot be written ({error.strerror or error}); check the folder and its permissions.")

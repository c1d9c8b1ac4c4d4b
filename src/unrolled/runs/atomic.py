"""Writing a file so that a reader, or the next start after a power cut, finds either the old one or the new one, whole.

The bytes go into a temporary file beside the target, are flushed to the disk, and take the target's name in one step.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from unrolled.errors import UserError


class Unwritable(UserError):
    """A file could not be written. The advice depends on what the file was for, so callers add it."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write `path` with `content`.

    Raises:
        Unwritable: the disk is full, or the folder cannot be written; an existing file at `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # a new file: never through a link that someone left there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed."""
    for leftover in folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)


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

"""Writing a file so that a reader, or the next start after a power cut, finds either the old one or the new one, whole.

The bytes go into a temporary file beside the target, are flushed to the disk, and take the target's name in one step.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from unrolled.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `path` with `content`.

    Raises:
        UserError: the disk is full, or the folder cannot be written; whatever stood at `path` is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # a new file: never through a link that somebody left there
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


def unwritable(path: Path, error: OSError) -> UserError:
    """Return the plain sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"The disk is full: {path.name} could not be written in {path.parent}; what was saved before is still "
            "there. Make room, then try again; a training goes on with: unrolled train --resume."
        )
    return UserError(f"{path} cannot be written ({error.strerror or error}); check the folder and its permissions.")

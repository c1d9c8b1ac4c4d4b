"""Writing a file so that a reader, or the next start after a power cut, finds either the old one or the new one, whole.

The bytes go into a temporary file beside the target, are flushed to the disk, and take the target's name in one step.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write `path` with `content`.

    Raises:
        OSError: the file could not be written; the old one is still there, and nothing is left beside it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # a new file: never through a link that somebody left there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed."""
    for leftover in folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)

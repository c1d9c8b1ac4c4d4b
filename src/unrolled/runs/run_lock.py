"""One process at a time trains a run: two would write each other's checkpoints.

The run's directory itself is locked (flock), so that nothing is left behind and the lock ends with the process, however
that ends. Where the system or the file system has no such lock (Windows, some network drives), none is taken.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from unrolled.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from training in this directory, which must exist.

    Raises:
        UserError: another process is training there, or it is not a directory.
    """
    if fcntl is None:
        yield
        return
    handle = _open_folder(folder)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)  # which unlocks


def _open_folder(folder: Path) -> int:
    """Open a directory and nothing else: opening a pipe would wait for its writer."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"{folder} cannot be locked ({error.strerror}); a run is a directory.") from None


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise UserError(
                f"Another process is training {folder}; wait for it or stop it, or choose another folder with --out."
            ) from None

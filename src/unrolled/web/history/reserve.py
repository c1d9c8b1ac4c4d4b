"""Room that is set aside beside the history, so that texts can be deleted when the disk is full.

SQLite writes what it changes into a journal first, which is what makes a deletion safe from a power cut; on a full disk
there is no room for that. The reserve is a file of random bytes (no file system stores them in less) that makes way.
"""

from __future__ import annotations

import os
from pathlib import Path

RESERVE_BYTES = 256 * 1024  # for the journal of one entry of 10,000 characters and 2,000 tokens, several times


class Reserve:
    """The file `NAME-reserve` beside the file `NAME`."""

    def __init__(self, file: Path) -> None:
        self.path = file.with_name(f"{file.name}-reserve")

    def hold(self) -> None:
        """Set the room aside, where it is not yet; without room, do nothing."""
        try:
            if self.path.is_file() and self.path.stat().st_size == RESERVE_BYTES:
                return
            self.path.unlink(missing_ok=True)
            self._fill()
        except OSError:
            self.release()

    def release(self) -> bool:
        """Give the room back; return whether there was any."""
        try:
            self.path.unlink()
        except OSError:
            return False
        return True

    def _fill(self) -> None:
        handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(RESERVE_BYTES))
            file.flush()
            os.fsync(handle)

"""Disk space reserved next to the history, so that entries can be deleted when the disk is full.

SQLite first writes the pages that it changes to a journal, which makes a deletion safe against a power failure; a full
disk has no space for it. The reserve is a file of random bytes (no file system can compress it) that is then removed.
"""

from __future__ import annotations

import os
from pathlib import Path

RESERVE_BYTES = 256 * 1024  # for the journal of one entry of 10,000 characters and 2,000 tokens, several times


class Reserve:
    """The file `NAME-reserve` next to the file `NAME`."""

    def __init__(self, file: Path) -> None:
        self.path = file.with_name(f"{file.name}-reserve")

    def hold(self) -> None:
        """Reserve the space if it is not reserved yet; do nothing if there is none."""
        try:
            if self.path.is_file() and self.path.stat().st_size == RESERVE_BYTES:
                return
            self.path.unlink(missing_ok=True)
            self._fill()
        except OSError:
            self.release()

    def release(self) -> bool:
        """Free the space; return whether any was reserved."""
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

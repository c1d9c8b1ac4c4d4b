"""The file of the history: an SQLite database (https://www.sqlite.org/lockingv3.html) with a rollback journal.

A write-ahead log would let readers and a writer work concurrently, but it needs space and two more files even for
reading, and retains deleted data until a checkpoint. With a rollback journal, reading needs only the file itself, so a
history on a full or read-only disk stays readable, and a committed deletion leaves nothing behind. The journal is on
disk: one in memory would need no space, but a crash during a write would destroy the file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unrolled.errors import UserError
from unrolled.files import open_regular
from unrolled.web.history.rows import COLUMNS

APPLICATION_ID = 0x756E726C  # "unrl" in the file's header identifies our files
VERSION = 1
TABLE = """
CREATE TABLE IF NOT EXISTS texts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, created REAL NOT NULL, source TEXT NOT NULL, model TEXT NOT NULL,
    prompt TEXT NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL, tokens INTEGER NOT NULL,
    seconds REAL NOT NULL, seed INTEGER NOT NULL, settings TEXT NOT NULL
)"""
INDEX = "CREATE INDEX IF NOT EXISTS texts_by_time ON texts (created)"
# Only names of columns are put into the text; values are bound.
PROBE = f"INSERT INTO texts ({COLUMNS}) VALUES (-1, 0, '', '', '', zeroblob(65536), '', 0, 0, 0, '')"  # nosec B608
OPENING_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Trouble:
    """Why the file cannot be used; `reason` is a clause of a sentence."""

    kind: Literal["locked", "full", "read-only", "damaged", "broken"]
    reason: str


class HistoryFile:
    """Opens connections to the file, each for one operation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Create the file, readable only by this user, and its table, if they do not exist.

        Raises:
            UserError: it is not a regular file, or belongs to another program or a newer version.
            sqlite3.Error, OSError: it cannot be read, or does not exist and cannot be created.
        """
        self._make_private()
        self._leave_the_write_ahead_log()
        if not self._is_ready():
            with self.writing(OPENING_PATIENCE_SECONDS) as connection:
                for statement in (TABLE, INDEX, f"PRAGMA application_id = {APPLICATION_ID}"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextlib.contextmanager
    def reading(self, patience_seconds: float) -> Iterator[sqlite3.Connection]:
        """Yield a connection for reading, which also works if the file and its folder are not writable."""
        with contextlib.closing(self._readable(patience_seconds)) as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, patience_seconds: float) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a transaction, which is committed at the end, or rolled back after an error."""
        with contextlib.closing(self._connection(patience_seconds)) as connection:
            connection.execute("PRAGMA secure_delete = ON").fetchall()
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            if mode == "delete":  # truncating the journal is as safe as deleting it, and faster
                connection.execute("PRAGMA journal_mode = TRUNCATE").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
            if mode == "wal":  # an older version of unrolled has the file open
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def probe(self, patience_seconds: float) -> None:
        """Write and delete a text of 64 KiB.

        Raises:
            sqlite3.Error, OSError: it could not be written.
        """
        with self.writing(patience_seconds) as connection:
            connection.execute(PROBE)
            connection.execute("DELETE FROM texts WHERE id = -1")

    def trouble_of(self, error: Exception) -> Trouble:
        """Interpret an SQLite error by its message, which, unlike Python's error codes, is the same in all versions."""
        words = str(error)
        if "locked" in words:
            return Trouble("locked", "another program is using it")
        if "full" in words:
            return Trouble("full", "its disk is full")
        if "malformed" in words or "not a database" in words:
            return Trouble("damaged", "its file is damaged")
        if "readonly" in words:
            return Trouble("read-only", self._why_read_only())
        if "unable to open" in words and self.path.is_file():  # meaning its journal
            return Trouble("read-only", self._why_read_only())
        if "disk I/O" in words:
            return Trouble("full", "its disk is full or faulty")
        return Trouble("broken", words)

    def _why_read_only(self) -> str:
        about = os.statvfs(self.path) if hasattr(os, "statvfs") else None
        if about is not None and about.f_flag & os.ST_RDONLY:
            return "its disk is mounted read-only"
        if os.access(self.path, os.W_OK):
            return "no file can be made beside it"
        return "this user may not change its file"

    def _make_private(self) -> None:
        """Create the file and its folder; an existing file is not opened, as closing it would drop SQLite's locks."""
        if self.path.is_file():
            return
        if self.path.exists():
            raise UserError(f"{_what_else(self.path)}; choose another with --history-file, or use --history off.")
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))

    def _leave_the_write_ahead_log(self) -> None:
        """Switch the file of an older version to a rollback journal, if that is possible now."""
        with contextlib.closing(self._connection(OPENING_PATIENCE_SECONDS)) as connection:
            if _journal_mode(connection) not in ("wal", None):
                return
        with contextlib.closing(self._connection(0.0)) as connection, contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()  # no shared memory, for a full disk
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()

    def _is_ready(self) -> bool:
        """Return whether the table exists.

        Raises:
            UserError: the file belongs to another program or a newer version.
        """
        with self.reading(OPENING_PATIENCE_SECONDS) as connection:
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if owner != APPLICATION_ID and tables:
                raise UserError(f"{self.path} is a database of another program; choose another with --history-file.")
            if version > VERSION:
                raise UserError(
                    f"{self.path} was made by a newer version of unrolled; update, or choose another --history-file."
                )
            if "texts" in tables:
                # Only names of columns are put into the text; values are bound.
                connection.execute(f"SELECT {COLUMNS} FROM texts LIMIT 1").fetchall()  # nosec B608
            return "texts" in tables

    def _readable(self, patience_seconds: float) -> sqlite3.Connection:
        connection = self._connection(patience_seconds)
        try:
            connection.execute("PRAGMA schema_version").fetchone()
            return connection
        except sqlite3.OperationalError as error:
            connection.close()
            if self.trouble_of(error).kind == "locked" or self._has_journal():
                raise
        except BaseException:
            connection.close()
            raise
        # A write-ahead log cannot be opened without writing. There is none, so the file alone is complete.
        return self._connection(patience_seconds, "mode=ro&immutable=1")

    def _has_journal(self) -> bool:
        besides = (self.path.with_name(f"{self.path.name}-{end}") for end in ("journal", "wal"))
        return any(file.exists() and file.stat().st_size for file in besides)

    def _connection(self, patience_seconds: float, mode: str = "mode=rw") -> sqlite3.Connection:
        """Open the file without ever creating it: a file that was removed is not silently recreated."""
        address = f"{self.path.absolute().as_uri()}?{mode}"
        connection = sqlite3.connect(address, timeout=patience_seconds, isolation_level=None, uri=True)
        connection.text_factory = _text
        connection.create_function("holds", 2, _holds, deterministic=True)
        return connection


def _what_else(path: Path) -> str:
    """Describe what exists instead of a regular file."""
    try:
        open_regular(path, 0).close()
    except UserError as error:
        return str(error).partition(";")[0]
    return f"{path} cannot be read"  # it has just been replaced


def _journal_mode(connection: sqlite3.Connection) -> str | None:
    """Return the mode, or None if the file cannot be read."""
    with contextlib.suppress(sqlite3.Error):
        return connection.execute("PRAGMA journal_mode").fetchone()[0]
    return None


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _holds(content: bytes | None, needle: str) -> bool:
    """Return whether a text contains a casefolded needle; the text is bytes, not always UTF-8 in a damaged row."""
    return content is not None and needle in _text(content).casefold()

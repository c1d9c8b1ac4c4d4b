"""Prompts and the texts written on from them, kept in one SQLite file (https://www.sqlite.org) for later analysis.

Each piece of work opens a connection of its own and closes it, in the write-ahead mode, so that threads and other
programs may read and write at once. What is older than the days it may be kept is never shown, and deleted at the
start, at every hour of a running server and on the way; of the rest, the newest ten thousand entries stay. What is
deleted is overwritten in the file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.errors import UserError

LOG = logging.getLogger("unrolled.web")
APPLICATION_ID = 0x756E726C  # "unrl", in the file's header: what says that a file is one of ours
VERSION = 1
TABLE = """
CREATE TABLE IF NOT EXISTS texts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, created REAL NOT NULL, source TEXT NOT NULL, model TEXT NOT NULL,
    prompt TEXT NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL, tokens INTEGER NOT NULL,
    seconds REAL NOT NULL, seed INTEGER NOT NULL, settings TEXT NOT NULL
)"""
INDEX = "CREATE INDEX IF NOT EXISTS texts_by_time ON texts (created)"
COLUMNS = "id, created, source, model, prompt, text, finish_reason, tokens, seconds, seed, settings"
MATCHING = "created >= ? AND (? = '' OR model = ?) AND (? = '' OR holds(prompt, ?) OR holds(text, ?))"
SURPLUS = "id IN (SELECT id FROM texts ORDER BY created DESC, id DESC LIMIT -1 OFFSET ?)"
SECONDS_A_DAY = 86_400
SWEEP_SECONDS = 3_600.0
MOST_ENTRIES = 10_000
BATCH = 500  # rows that are read at once for an export


class HistoryTrouble(UserError):
    """The history cannot be read or changed now; writing texts goes on."""


@dataclass(frozen=True)
class Entry:
    """A text and how it came to be. `created` is in seconds since 1970 (UTC); `id` is 0 before it is kept."""

    created: float
    source: str  # "page" or "api"
    model: str
    prompt: str
    text: str
    finish_reason: str
    tokens: int
    seconds: float
    seed: int
    settings: dict[str, Any]
    id: int = 0


@dataclass(frozen=True)
class Query:
    """Which entries: those that hold `text` in prompt or continuation (whatever its case), written by `model`."""

    text: str = ""
    model: str = ""


class History:
    """Entries in a file; every method may be called from any thread."""

    def __init__(
        self,
        file: Path,
        keep_days: int,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = 1.0,
    ) -> None:
        """Open the file, or make it, and delete what is too old.

        Raises:
            UserError: it cannot be used, or is a file of something else.
        """
        self.file, self.keep_days = file, keep_days
        self._clock, self._patience = clock, patience_seconds
        self._swept = clock()
        try:
            _make_private(file)
            with self._connection() as connection:
                _prepare(connection, file)
            self.sweep()
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"{file} cannot hold the history ({error}); choose another with --history-file, or use --history off."
            ) from error

    def keep(self, entries: Sequence[Entry]) -> str | None:
        """Add entries; return None, or a sentence for the reader where they could not be kept. Never raises."""
        try:
            with self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    f"INSERT INTO texts ({COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, entries)
                )
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            LOG.warning("the history cannot be written: %s", error)
            return "This text could not be added to the history."
        with contextlib.suppress(HistoryTrouble):  # it is in the log, and the next text makes room
            self._make_room()
        return None

    def count(self, query: Query) -> int:
        """Return how many entries match."""
        with self._reading() as connection:
            found = connection.execute(f"SELECT COUNT(*) FROM texts WHERE {MATCHING}", self._matching(query))
            return found.fetchone()[0]

    def page(self, query: Query, first: int, size: int) -> list[Entry]:
        """Return `size` matching entries, the newest first, from the one with index `first` on."""
        with self._reading() as connection:
            found = connection.execute(
                f"SELECT {COLUMNS} FROM texts WHERE {MATCHING} ORDER BY id DESC LIMIT ? OFFSET ?",
                (*self._matching(query), size, first),
            )
            return [_entry(row) for row in found]

    def entries(self, query: Query) -> Iterator[Entry]:
        """Yield all matching entries, the oldest first; they are read in batches, so that others may write."""
        last = 0
        while True:
            with self._reading() as connection:
                rows = connection.execute(
                    f"SELECT {COLUMNS} FROM texts WHERE {MATCHING} AND id > ? ORDER BY id LIMIT {BATCH}",
                    (*self._matching(query), last),
                ).fetchall()
            if not rows:
                return
            yield from map(_entry, rows)
            last = rows[-1][0]

    def models(self) -> list[str]:
        """Return the ids of all models that wrote something, sorted."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT DISTINCT model FROM texts WHERE created >= ? ORDER BY 1", (self._oldest,)
            )
            return [model for (model,) in found]

    def delete(self, identity: int) -> int:
        """Delete one entry; return how many there were (0 or 1)."""
        return self._delete("id = ?", (identity,))

    def delete_matching(self, query: Query) -> int:
        """Delete all matching entries, and return their number."""
        return self._delete(MATCHING, self._matching(query))

    def sweep(self) -> int:
        """Delete what is too old and what is too much, and return how many that were."""
        self._swept = self._clock()
        old = self._delete("created < ?", (self._oldest,)) if self.keep_days else 0
        return old + self._delete(SURPLUS, (MOST_ENTRIES,))

    def _make_room(self) -> None:
        """Delete what is too much, and once an hour what is too old."""
        if self._clock() - self._swept > SWEEP_SECONDS:
            self.sweep()
        else:
            self._delete(SURPLUS, (MOST_ENTRIES,))

    @contextlib.contextmanager
    def kept_tidy(self) -> Iterator[None]:
        """Sweep once an hour, in a thread that ends with the block."""
        over = threading.Event()

        def tidy() -> None:
            while not over.wait(SWEEP_SECONDS):
                try:
                    self.sweep()
                except HistoryTrouble as error:
                    LOG.warning("%s", error)

        thread = threading.Thread(target=tidy, name="history", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @property
    def _oldest(self) -> float:
        """When the oldest entry that may still be shown was made."""
        return self._clock() - self.keep_days * SECONDS_A_DAY if self.keep_days else float("-inf")

    def _matching(self, query: Query) -> tuple[Any, ...]:
        needle = query.text.casefold()
        return (self._oldest, query.model, query.model, needle, needle, needle)

    def _delete(self, condition: str, values: tuple[Any, ...]) -> int:
        with self._reading() as connection:
            number = connection.execute(f"DELETE FROM texts WHERE {condition}", values).rowcount
            if number:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # nothing of it stays in the log
            return number

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection, and turn its errors into one that a page can show."""
        try:
            with self._connection() as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            LOG.warning("the history cannot be used: %s", error)
            raise HistoryTrouble("The history cannot be used at the moment; please try again in a minute.") from error

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Open the file; a statement outside BEGIN and COMMIT is a transaction of its own."""
        address = f"{self.file.absolute().as_uri()}?mode=rw"  # a file that was taken away is not made again, unseen
        with contextlib.closing(
            sqlite3.connect(address, timeout=self._patience, isolation_level=None, uri=True)
        ) as connection:
            connection.execute("PRAGMA secure_delete = ON").fetchall()
            connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last entries, never the file
            connection.create_function("holds", 2, _holds, deterministic=True)
            yield connection


def default_history_file() -> Path:
    """Return where the history lies unless another place is asked for: in the user's own data folder."""
    home = Path.home()
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = home / "Library" / "Application Support"
    else:
        folder = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return folder / "unrolled" / "history.sqlite3"


def _make_private(file: Path) -> None:
    """Make the file and its folder, for this user only, where they do not exist."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    """Make the table in an empty file.

    Raises:
        UserError: the file belongs to another program, or to a newer version.
    """
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if owner != APPLICATION_ID and tables:
        raise UserError(f"{file} is a database of another program; choose another file with --history-file.")
    if version > VERSION:
        raise UserError(f"{file} was made by a newer version of unrolled; update, or choose another --history-file.")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(TABLE)
    connection.execute(INDEX)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _holds(text: str, needle: str) -> bool:
    return needle in text.casefold()


def _row(entry: Entry) -> tuple[Any, ...]:
    return (
        *(entry.created, entry.source, entry.model, entry.prompt, entry.text, entry.finish_reason),
        *(entry.tokens, entry.seconds, entry.seed, json.dumps(entry.settings)),
    )


def _entry(row: tuple[Any, ...]) -> Entry:
    identity, *values, settings = row
    return Entry(*values, settings=json.loads(settings), id=identity)

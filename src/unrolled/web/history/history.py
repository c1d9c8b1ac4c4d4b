"""Prompts and their samples, stored in one SQLite file for later analysis.

Each operation opens and closes its own connection, so that threads and other programs can read and write. Threads of
this program take turns; while another program locks the file, entries wait in memory, so that no client waits long.
Entries past their retention time are never shown, and are deleted at start, every hour, and after each write; of the
rest, the newest ten thousand are kept. Deleted data is overwritten in the file.
"""

from __future__ import annotations

import contextlib
import errno
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
from unrolled.web.history.backlog import Backlog, Group
from unrolled.web.history.file import HistoryFile, Trouble
from unrolled.web.history.reserve import Reserve
from unrolled.web.history.rows import COLUMNS, Entry, entry_of, row_of
from unrolled.web.history.turns import TooLate, Turns

LOG = logging.getLogger("unrolled.web")
# Only names of columns are put into the text; values are bound.
INSERT = f"INSERT INTO texts ({COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # nosec B608
MATCHES = """CASE
    WHEN created < ? OR (? != '' AND model IS NOT ?) THEN 0
    WHEN ? = '' THEN 1
    ELSE holds(CAST(prompt AS BLOB), ?) OR holds(CAST(text AS BLOB), ?)
END"""
TOO_OLD = "SELECT id FROM texts WHERE created < ?"
TOO_MANY = "SELECT id FROM (SELECT id FROM texts ORDER BY created DESC, id DESC LIMIT -1 OFFSET ?)"
CONTENT_BYTES = "coalesce(length(CAST(prompt AS BLOB)), 0) + coalesce(length(CAST(text AS BLOB)), 0)"
SECONDS_A_DAY = 86_400
SWEEP_SECONDS = 3_600.0
MOST_ENTRIES = 10_000
BATCH = 500  # rows searched or read at once
PORTION = 100  # rows deleted at once; other threads write in between
OVERHEAD_BYTES = 64 * 1024  # of a journal, besides the content of one entry: the index and neighbouring pages
NOT_KEPT = "This sample could not be added to the history."
TRY_AGAIN = "The history cannot be used right now; please try again in a minute."
ERRORS = (sqlite3.Error, OSError, TooLate)
UNFIT = (ValueError, OverflowError)  # a value that SQLite cannot hold


class HistoryTrouble(UserError):
    """The history cannot be read or changed now; generation is not affected."""


@dataclass(frozen=True)
class Query:
    """Selects entries by `model`, and by a `text` in prompt or continuation (case-insensitive); empty: all."""

    text: str = ""
    model: str = ""


class History:
    """Entries in a file; all methods may be called from any thread.

    `trouble` says why new entries cannot be stored, according to the last attempt to write; None: they can.
    """

    def __init__(
        self,
        file: Path,
        keep_days: int,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = 1.0,
    ) -> None:
        """Open or create the file, and delete entries that are too old.

        Args:
            file: the database. A file that is readable but not writable is opened too; see `trouble`.
            keep_days: how long entries are kept; 0: for ever.
            clock: returns the seconds since 1970.
            patience_seconds: how long storing an entry may wait; reading and deleting wait five times as long.

        Raises:
            UserError: it cannot be read or created, or belongs to another program.
        """
        self.file, self.keep_days = file, keep_days
        self.trouble: Trouble | None = None
        self._clock, self._patience = clock, patience_seconds
        self._database, self._reserve, self._backlog = HistoryFile(file), Reserve(file), Backlog()
        self._turns = Turns()
        self._stir = threading.Event()  # entries wait, or the server ends
        self._spares_room = False  # the space freed by the reserve is for deletions only
        try:
            self._database.prepare()
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"{file} cannot hold the history ({error}); choose another with --history-file, or use --history off."
            ) from error
        self._open_for_writing()

    def keep(self, entries: Sequence[Entry]) -> str | None:
        """Add entries; return None, or a sentence for the reader if they could not be stored. Never raises.

        If another program locks the file, they are written as soon as possible.
        """
        group = self._backlog.add(entries)
        if group is None:
            LOG.warning("the history is locked, and too many samples wait for it; one was dropped")
            return NOT_KEPT
        self._write_waiting()
        if group.refusal is None:
            with contextlib.suppress(HistoryTrouble):  # it is logged, and the next entry tries again
                self._delete(self._surplus(PORTION))
        return group.refusal

    def count(self, query: Query) -> int:
        """Return how many entries match."""
        return sum(map(len, self._walk(query)))

    def page(self, query: Query, first: int, size: int) -> list[Entry]:
        """Return `size` matching entries, newest first, starting at index `first`."""
        found = [identity for ids in self._walk(query) for identity in ids]
        return self._read(found[::-1][first : first + size])[::-1]

    def entries(self, query: Query) -> Iterator[Entry]:
        """Yield all matching entries, oldest first."""
        for ids in self._walk(query):
            yield from self._read(ids)

    def models(self) -> list[str]:
        """Return the ids of all models with entries, sorted."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT DISTINCT model FROM texts WHERE created >= ? ORDER BY 1", (self._oldest,)
            )
            return [model for (model,) in found if isinstance(model, str)]

    def delete(self, identity: int) -> int:
        """Delete one entry; return the number deleted (0 or 1)."""
        return self._delete(self._ids("SELECT id FROM texts WHERE id = ?", (identity,)))

    def delete_matching(self, query: Query) -> int:
        """Delete all matching entries and return their number."""
        return self._delete([identity for ids in self._walk(query) for identity in ids])

    def sweep(self) -> int:
        """Delete entries that are too old or too many, and return their number."""
        return self._delete(self._surplus(-1))

    @property
    def can_delete(self) -> bool:
        """Whether deleting can succeed; on a full disk, space for it is reserved."""
        return self.trouble is None or self.trouble.kind == "full"

    def check(self) -> None:
        """After trouble, check whether entries can be stored again."""
        if self.trouble is not None:
            self._open_for_writing()

    @contextlib.contextmanager
    def kept_tidy(self) -> Iterator[None]:
        """Sweep once an hour and write waiting entries, in a thread that ends with the block."""
        over = threading.Event()
        thread = threading.Thread(target=self._tidy, args=(over,), name="history", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            self._stir.set()
            thread.join()
            self._write_waiting()
            if lost := sum(len(group.entries) for group in self._backlog.waiting()):
                LOG.warning("the history is still locked; %d samples could not be added to it", lost)

    def _tidy(self, over: threading.Event) -> None:
        while not over.is_set():
            if self._stir.wait(SWEEP_SECONDS):
                self._stir.clear()
                self._write_waiting()
                continue
            try:
                self.sweep()
            except HistoryTrouble as error:
                LOG.warning("%s", error)

    def _open_for_writing(self) -> None:
        """Reserve space, check whether the file is writable, and if so, sweep."""
        self._reserve.hold()  # first, so that the probe does not take its space
        try:
            with self._turns.writing(self._patience):
                self._database.probe(self._patience)
        except ERRORS as error:
            self._note(error)
            return
        self.trouble = None
        with contextlib.suppress(HistoryTrouble):
            self.sweep()

    @property
    def _oldest(self) -> float:
        """The creation time of the oldest entry that may be shown."""
        return self._clock() - self.keep_days * SECONDS_A_DAY if self.keep_days else float("-inf")

    def _walk(self, query: Query) -> Iterator[list[int]]:
        """Yield the ids of all matching entries, oldest first, in batches, so that others can write in between."""
        needle, last = query.text.casefold(), 0
        while True:
            values = (self._oldest, query.model, query.model, needle, needle, needle, last)
            with self._reading() as connection:
                rows = connection.execute(
                    # Only names of columns are put into the text; values are bound.
                    f"SELECT id, {MATCHES} FROM texts WHERE id > ? ORDER BY id LIMIT {BATCH}",  # nosec B608
                    values,
                ).fetchall()
            if not rows:
                return
            yield [identity for identity, matches in rows if matches]
            last = rows[-1][0]

    def _read(self, ids: Sequence[int]) -> list[Entry]:
        """Return the entries with these ids that still exist, oldest first."""
        marks = ", ".join("?" * len(ids))
        with self._reading() as connection:
            return [
                entry_of(row)
                # Only names of columns are put into the text; values are bound.
                for row in connection.execute(f"SELECT {COLUMNS} FROM texts WHERE id IN ({marks}) ORDER BY id", ids)  # nosec B608
            ]

    def _ids(self, select: str, values: tuple[Any, ...]) -> list[int]:
        with self._reading() as connection:
            return [identity for (identity,) in connection.execute(select, values)]

    def _surplus(self, most: int) -> list[int]:
        """Return the ids of entries that are too old or too many: at most `most`, or all for -1."""
        return self._ids(f"{TOO_OLD} UNION {TOO_MANY} LIMIT ?", (self._oldest, MOST_ENTRIES, most))

    def _write_waiting(self) -> None:
        """Write all waiting entries, or leave them to the thread whose turn it is or to the one that tidies."""
        before = time.monotonic()
        try:
            with self._turns.writing(self._patience):
                groups = self._backlog.waiting()
                if groups:
                    self._write(groups, max(0.0, self._patience - (time.monotonic() - before)))
        except TooLate:
            self._stir.set()

    def _write(self, groups: list[Group], patience_seconds: float) -> None:
        """Write groups in one transaction, or, if that fails, in one transaction each.

        Raises:
            TooLate: another program locks the file; groups that were not written keep waiting.
        """
        try:
            if self._spares_room:
                raise OSError(errno.ENOSPC, "the disk is full")
            with self._database.writing(patience_seconds) as connection:
                connection.executemany(INSERT, (row_of(entry) for group in groups for entry in group.entries))
            self.trouble = None
        except (*ERRORS, *UNFIT) as error:
            LOG.warning("the history cannot be written: %s", error)
            if self._note(error).kind == "locked":
                raise TooLate from error
            if len(groups) > 1:
                for group in groups:
                    self._write([group], patience_seconds)
                return
            groups[0].refusal = NOT_KEPT
        self._backlog.settle(groups)

    def _delete(self, ids: Sequence[int]) -> int:
        """Delete entries in portions; on a full disk, use the reserved space and ever smaller portions."""
        deleted, size = 0, PORTION
        try:
            while ids:
                try:
                    deleted += self._delete_portion(ids[:size])
                except _NoRoom:
                    if self._reserve.release():
                        self._spares_room = True
                        continue
                    if size == 1:
                        raise HistoryTrouble(self._room_needed(ids[0], deleted)) from None
                    size = max(1, min(size, len(ids)) // 2)
                else:
                    ids = ids[size:]
        finally:
            if deleted or self._spares_room:
                self._reserve.hold()
            self._spares_room = False
        return deleted

    def _delete_portion(self, ids: Sequence[int]) -> int:
        try:
            with self._turns.writing(5 * self._patience), self._database.writing(5 * self._patience) as connection:
                return connection.executemany("DELETE FROM texts WHERE id = ?", ((each,) for each in ids)).rowcount
        except ERRORS as error:
            trouble = self._database.trouble_of(error)
            if trouble.kind == "full":
                raise _NoRoom from error
            raise self._refusal(error) from error

    def _room_needed(self, identity: int, deleted: int) -> str:
        # Only names of columns are put into the text; values are bound.
        sizes = self._ids(f"SELECT {CONTENT_BYTES} FROM texts WHERE id = ?", (identity,))  # nosec B608
        needed = -(-(sum(sizes) + OVERHEAD_BYTES) // 1024)
        before = f"{deleted:,} samples were deleted, then the disk was full" if deleted else "The disk is full"
        return (
            f"{before}: to delete the next sample, about {needed:,} KB must be free on the disk of the history. "
            "Free that much space, and delete again."
        )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection, and turn its errors into one that a page can show."""
        try:
            with self._turns.reading(5 * self._patience), self._database.reading(5 * self._patience) as connection:
                yield connection
        except ERRORS as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> HistoryTrouble:
        LOG.warning("the history cannot be used: %s", error)
        trouble = self._database.trouble_of(error)
        if trouble.kind == "read-only":
            return HistoryTrouble(f"The history cannot be changed: {trouble.reason}.")
        if trouble.kind == "damaged":
            return HistoryTrouble("The file of the history is damaged; move it away and restart the server.")
        return HistoryTrouble(TRY_AGAIN)

    def _note(self, error: Exception) -> Trouble:
        """Record why nothing could be written; a lock is temporary and is not recorded."""
        trouble = self._database.trouble_of(error)
        if trouble.kind != "locked":
            self.trouble = trouble
        return trouble


class _NoRoom(Exception):
    """The disk is full."""


def default_history_file() -> Path:
    """Return the default file of the history, in the user's data directory."""
    home = Path.home()
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = home / "Library" / "Application Support"
    else:
        folder = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return folder / "unrolled" / "history.sqlite3"

"""Entries waiting to be written to the history: the thread whose turn it is writes all of them.

While another program locks the file, entries wait here in memory, up to a bound.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from unrolled.web.history.rows import Entry

MOST_WAITING = 16 * 2**20  # characters of all entries


class Group:
    """Entries that are written together. `refusal` is a sentence if they could not be written."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self.size = sum(entry.size for entry in self.entries)
        self.refusal: str | None = None


class Backlog:
    """Groups in order of arrival; all methods may be called from any thread."""

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._lock = threading.Lock()

    def add(self, entries: Sequence[Entry]) -> Group | None:
        """Add entries; return their group, or None if too much is waiting already."""
        group = Group(entries)
        with self._lock:
            if self._groups and sum(waiting.size for waiting in self._groups) + group.size > MOST_WAITING:
                return None
            self._groups.append(group)
        return group

    def waiting(self) -> list[Group]:
        """Return the groups that are not settled yet."""
        with self._lock:
            return list(self._groups)

    def settle(self, groups: Sequence[Group]) -> None:
        """Remove groups that are written or were given up."""
        with self._lock:
            self._groups = [group for group in self._groups if group not in groups]

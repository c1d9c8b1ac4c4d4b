"""Entries on their way into the history: whoever has the turn to write takes all that wait.

While another program holds the file, entries wait here, in memory, up to a bound.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from unrolled.web.history.rows import Entry

MOST_WAITING = 16 * 2**20  # characters of all entries


class Group:
    """Entries that are written together. `refusal` is a sentence where they could not be."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self.size = sum(entry.size for entry in self.entries)
        self.refusal: str | None = None


class Backlog:
    """Groups in the order in which they came; every method may be called from any thread."""

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._lock = threading.Lock()

    def add(self, entries: Sequence[Entry]) -> Group | None:
        """Add entries; return their group, or None where too much is waiting already."""
        group = Group(entries)
        with self._lock:
            if self._groups and sum(waiting.size for waiting in self._groups) + group.size > MOST_WAITING:
                return None
            self._groups.append(group)
        return group

    def waiting(self) -> list[Group]:
        """Return the groups that nobody has settled yet."""
        with self._lock:
            return list(self._groups)

    def settle(self, groups: Sequence[Group]) -> None:
        """Take groups out: they are written, or never will be."""
        with self._lock:
            self._groups = [group for group in self._groups if group not in groups]

"""The threads that answer requests: a few that work, and one more for each request that waits.

A request that waits (for a generation slot, or for a model to load) occupies its thread. Another thread replaces it for
that time, so that pages are answered immediately however many requests wait. A large fixed pool would do the same, but
many threads could then compute at once, and the loop that accepts and reads would compete with all of them for the
interpreter's lock.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from waitress.task import ThreadedTaskDispatcher


class ThreadPool(ThreadedTaskDispatcher):
    """Waitress' thread pool: `working` threads, and one more for each active `waiting` block."""

    def __init__(self, working: int) -> None:
        super().__init__()
        self._working, self._waiting = working, 0
        self._is_ending = False
        self._count = threading.Lock()
        self.set_thread_count(working)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Add a thread while this one waits."""
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End all threads and start no new ones."""
        with self._count:
            self._is_ending = True
        return super().shutdown(cancel_pending, timeout)

    def _change(self, by: int) -> None:
        with self._count:
            self._waiting += by
            if not self._is_ending:
                self.set_thread_count(self._working + self._waiting)

"""The threads that answer requests: few that work, and one more for each that waits.

A request that waits (for a generation slot, or for a model to be loaded) occupies its thread. Another thread takes its
place for as long, so that pages are answered at once however many requests wait. A large pool from the start would
serve the same, but then many threads could compute at once, and the loop that accepts and reads would have to wait for
all of them at the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from waitress.task import ThreadedTaskDispatcher


class ThreadPool(ThreadedTaskDispatcher):
    """Waitress' threads, `working` of them and one for each `waiting` block that is entered."""

    def __init__(self, working: int) -> None:
        super().__init__()
        self._working, self._waiting = working, 0
        self._is_ending = False
        self._count = threading.Lock()
        self.set_thread_count(working)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Have another thread work while this one waits."""
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End all threads, and start none again."""
        with self._count:
            self._is_ending = True
        return super().shutdown(cancel_pending, timeout)

    def _change(self, by: int) -> None:
        with self._count:
            self._waiting += by
            if not self._is_ending:
                self.set_thread_count(self._working + self._waiting)

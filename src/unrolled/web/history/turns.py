"""A fair readers-writer lock for the history's file: several readers at once or one writer, in order of arrival.

SQLite's own locks make a waiting thread sleep and retry, up to a tenth of a second later, which is slow and unfair
under load. Here the threads of one program are woken when it is their turn.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator


class TooLate(Exception):
    """The turn did not come in time."""


class Turns:
    """A lock for many readers or one writer; it is not reentrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._readers = 0
        self._is_writing = False

    @contextlib.contextmanager
    def reading(self, patience_seconds: float) -> Iterator[None]:
        """Wait until no writer is active or ahead in the queue.

        Raises:
            TooLate: that took longer than `patience_seconds`.
        """
        with self._changed:
            self._wait(lambda: not self._is_writing, patience_seconds)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def writing(self, patience_seconds: float) -> Iterator[None]:
        """Wait until nobody else is active or ahead in the queue.

        Raises:
            TooLate: that took longer than `patience_seconds`.
        """
        with self._changed:
            self._wait(lambda: not self._is_writing and not self._readers, patience_seconds)
            self._is_writing = True
        try:
            yield
        finally:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()

    def _wait(self, is_free: Callable[[], bool], patience_seconds: float) -> None:
        ticket = object()
        self._queue.append(ticket)
        try:
            if not self._changed.wait_for(lambda: self._queue[0] is ticket and is_free(), patience_seconds):
                raise TooLate("the history is locked by other threads")
        finally:
            self._queue.remove(ticket)
            self._changed.notify_all()

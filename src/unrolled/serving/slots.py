"""Generation slots, and the queue of requests that wait for one.

A bounded number of requests generate at once. Further requests wait in a first-in, first-out queue of bounded length
for a bounded time; a request that finds the queue full, or waits too long, is refused.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

CHECK_SECONDS = 0.25  # how often a waiting request checks whether its client has left or the server shuts down


class SlotQueue:
    """`most` slots and a first-in, first-out queue of at most `queue_length` requests. Safe to use from any thread.

    A thread that waits does so inside a `while_waiting()` block.
    """

    def __init__(
        self,
        most: int,
        queue_length: int,
        clock: Callable[[], float] = time.monotonic,
        while_waiting: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
    ) -> None:
        self._free = most
        self._queue_length = queue_length
        self._clock, self._while_waiting = clock, while_waiting
        self._lock = threading.Lock()
        self._queue: deque[threading.Event] = deque()  # each is set when its request gets a slot

    @property
    def waiting(self) -> int:
        """The number of requests in the queue."""
        return len(self._queue)

    def acquire(self, seconds: float, has_given_up: Callable[[], bool] = lambda: False) -> bool:
        """Take a slot, waiting for one if none is free.

        Args:
            seconds: the longest wait.
            has_given_up: called while waiting; when it returns true the request leaves the queue.

        Returns:
            Whether the caller now holds a slot, which it must `release`.
        """
        with self._lock:
            if self._free:  # implies an empty queue: `release` serves the queue first
                self._free -= 1
                return True
            if len(self._queue) >= self._queue_length:
                return False
            turn = threading.Event()
            self._queue.append(turn)
        with self._while_waiting():
            return self._waited(turn, self._clock() + seconds, has_given_up)

    def release(self) -> None:
        """Free a slot, or pass it to the request that has waited longest."""
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1

    def _waited(self, turn: threading.Event, until: float, has_given_up: Callable[[], bool]) -> bool:
        try:
            while not turn.wait(CHECK_SECONDS):
                if has_given_up() or self._clock() >= until:
                    return self._left(turn)
        except BaseException:
            if self._left(turn):
                self.release()
            raise
        return True

    def _left(self, turn: threading.Event) -> bool:
        """Leave the queue; return True if the slot was granted in the meantime."""
        with self._lock:
            if turn.is_set():
                return True
            self._queue.remove(turn)
            return False

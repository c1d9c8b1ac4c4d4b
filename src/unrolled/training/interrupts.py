"""Ctrl-C and SIGTERM while training: finish the step, save, then stop.

A signal only sets a flag; the training loop, an evaluation and a plot check it between two of their parts. The caller
decides what a second signal does: here it raises KeyboardInterrupt, as Python users expect; the command line handles
it differently (`unrolled.cli.stopping`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


class Stopped(Exception):
    """Leaves a step, an evaluation, a preview or a plot before it is complete."""


class StopRequest:
    """Set by a signal, checked wherever training can stop.

    Attributes:
        signal: the first signal that came, or None.
        resumable: whether a checkpoint has been written, or was there from the beginning.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.resumable = False

    def note(self, number: int) -> None:
        """Note a signal, unless one came before it."""
        if self.signal is None:
            self.signal = number

    def check(self) -> None:
        """Raise `Stopped` once a signal has come."""
        if self.signal is not None:
            raise Stopped


SignalHandling = Callable[[], AbstractContextManager[StopRequest]]


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request to stop. Outside the main thread no signal is handled."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: object) -> None:
        if request.signal is not None:
            raise KeyboardInterrupt
        request.note(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

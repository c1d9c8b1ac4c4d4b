"""Ctrl-C and SIGTERM during `unrolled train`.

Before training there is nothing to save, so the first Ctrl-C ends the program (as does SIGTERM, as usual). During
training, the first signal requests the training loop to save and stop; the second one ends the process immediately.
Nothing is raised in the middle of a step, of plotting or of interpreter shutdown, where an exception could be lost or
fatal.

Python calls signal handlers only in the main thread after it returns from C code, and merges two signals that arrive in
the meantime into one call. Therefore a dedicated thread waits for the byte that Python's C-level handler writes for
each signal.

`os._exit` is safe at any time: files are renamed into place when they are complete, and leftovers of incomplete ones
are removed at the next start.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, NoReturn

from unrolled.cli.printing import printable

if TYPE_CHECKING:
    from unrolled.training.interrupts import StopRequest

STOPPED = 130  # exit status of a program stopped by Ctrl-C
SIGNALS = (signal.SIGINT, signal.SIGTERM)
TIDYING_SECONDS = 0.5  # for removing the temporary files of a text that is being read
CLEAR_LINE, SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"
SAVING = "Saving; press Ctrl-C again to stop at once."


class Stopping:
    """The context in which `unrolled train` runs; outside the main thread it does nothing.

    After it, Ctrl-C is ignored, as only the end of the process remains.

    Args:
        resume: the command that continues the run.
        start_over: called with whether the run's folder has been created, returns the command that starts the run
            again; None if there is already a checkpoint.
    """

    def __init__(self, resume: str, start_over: Callable[[bool], str] | None = None) -> None:
        self._resume, self._start_over = resume, start_over
        self._request: StopRequest | None = None
        self._may_raise = self._raised = self._last_chance = False
        self._tidied = threading.Event()
        self._watching: threading.Thread | None = None

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._reader, self._writer = _pipe()
            self._watching = threading.Thread(target=self._watch, name="signals", daemon=True)
            self._watching.start()
            self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watching is None:
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(self._wakeup_before)
        self._tidied.set()
        os.close(self._writer)  # ends the thread
        self._watching.join()
        if self._raised:
            say(self._farewell())
            sys.exit(STOPPED)

    def imported(self) -> None:
        """Allow Ctrl-C to raise from now on: imports are complete, and there may be temporary files to remove."""
        self._may_raise = True

    @contextlib.contextmanager
    def while_training(self) -> Iterator[StopRequest]:
        """Turn the first signal into a request to save and stop; see `unrolled.training.interrupts`."""
        from unrolled.training.interrupts import StopRequest

        self._request = StopRequest()
        if self._watching is not None:
            signal.signal(signal.SIGTERM, self._handle)
        yield self._request
        self._last_chance = True  # everything is saved: the next signal need not wait

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Only record the signal; the watching thread does the rest."""
        if self._request is not None:
            self._request.note(number)
        elif self._may_raise and not self._raised:
            self._raised = True
            raise KeyboardInterrupt

    def _watch(self) -> None:
        while numbers := os.read(self._reader, 64):
            for number in numbers:
                if number in SIGNALS:
                    self._arrived(number)
        os.close(self._reader)

    def _arrived(self, number: int) -> None:
        if self._last_chance:
            self._leave()
        self._last_chance = True
        if self._request is not None:
            self._request.note(number)
            say(SAVING)
        elif not self._may_raise or not self._tidied.wait(TIDYING_SECONDS):
            self._leave()

    def _leave(self) -> NoReturn:
        try:
            say(self._farewell())
        finally:
            os._exit(STOPPED)

    def _farewell(self) -> str:
        begun = self._request is not None
        if self._start_over is None or (begun and self._request.resumable):
            return f"Stopped; what was saved last is whole. Continue with: {self._resume}"
        return f"Stopped; nothing was saved. Start over with: {self._start_over(begun)}"


def _pipe() -> tuple[int, int]:
    """Return the two ends of a pipe that a signal handler may write to."""
    reader, writer = os.pipe()
    if os.name != "nt":
        os.set_blocking(writer, False)
    return reader, writer


def say(text: str) -> None:
    """Write a line to standard error from any thread, unbuffered; it is dropped if nobody reads it.

    On a terminal, the live line is cleared first and the hidden cursor shown again.
    """
    lead = CLEAR_LINE + SHOW_CURSOR if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        # writing to a full pipe would block forever; Windows cannot check
        if os.name == "nt" or select.select([], [2], [], 0.1)[1]:
            os.write(2, (lead + printable(text) + "\n").encode())

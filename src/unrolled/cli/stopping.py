"""Ctrl-C and SIGTERM during `unrolled train`.

Before training there is nothing to save: the first Ctrl-C ends the program (SIGTERM does, as for any program). While
training, the first signal leaves a note for the training loop, which saves and stops; the second one ends the process
on the spot. Nothing is raised in the middle of a step, of a plot or of the interpreter's end, where an exception could
be lost or be fatal.

Python calls a signal's handler in the main thread alone, once that is back from C code, and two signals that came in
the meantime are one call. So a thread of its own waits for the byte that Python's own handler, in C, sends for each
signal.

`os._exit` is safe at any moment: a file takes its name when it is whole, and what is left of one that was not is
removed at the next start.
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

STOPPED = 130  # of a program that was ended by Ctrl-C
SIGNALS = (signal.SIGINT, signal.SIGTERM)
TIDYING_SECONDS = 0.5  # for the temporary files of a text that is being read
CLEAR_LINE, SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"
SAVING = "Saving; press Ctrl-C again to stop at once."


class Stopping:
    """The context in which `unrolled train` runs; outside the main thread it does nothing.

    When it ends, Ctrl-C is ignored: all that is left to do is to end the process.

    Args:
        resume: the command that continues the run.
        start_over: gives the command that begins it again, told whether the run's folder was begun; None where there is
            a checkpoint already.
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
        os.close(self._writer)  # which ends the thread
        self._watching.join()
        if self._raised:
            say(self._farewell())
            sys.exit(STOPPED)

    def imported(self) -> None:
        """From now on Ctrl-C may raise: the modules are whole, and there may be temporary files to remove."""
        self._may_raise = True

    @contextlib.contextmanager
    def while_training(self) -> Iterator[StopRequest]:
        """Turn the first signal into a request to save and stop; see `unrolled.training.interrupts`."""
        from unrolled.training.interrupts import StopRequest

        self._request = StopRequest()
        if self._watching is not None:
            signal.signal(signal.SIGTERM, self._handle)
        yield self._request
        self._last_chance = True  # all is saved: the next signal has nothing to wait for

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Leave a note at once; all the rest is done by the watching thread."""
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
    """Return the two ends of a pipe that a signal's handler may write to."""
    reader, writer = os.pipe()
    if os.name != "nt":
        os.set_blocking(writer, False)
    return reader, writer


def say(text: str) -> None:
    """Write a line to standard error from any thread, past all buffers, unless nobody reads there.

    The live line of a terminal makes room for it, and gets the cursor back that it had hidden.
    """
    lead = CLEAR_LINE + SHOW_CURSOR if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        # a write to a full pipe would never return; Windows cannot tell
        if os.name == "nt" or select.select([], [2], [], 0.1)[1]:
            os.write(2, (lead + printable(text) + "\n").encode())

"""A text being written for one visitor, and the desk that says how many may be written at once.

A `Writing` owns one slot of the desk and one generator of the model. Whatever ends it (the last token, the deadline, a
visitor who left, a server that shuts down, an error), `close` stops the generator and frees the slot, exactly once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unrolled.sampling.draw import resolve_seed
from unrolled.web.forms import WriteRequest, well_formed
from unrolled.web.settings import WebSettings

if TYPE_CHECKING:
    from unrolled.trained import TrainedModel


class Busy(Exception):
    """All slots are taken; the visitor may come back in a moment."""


@dataclass(frozen=True)
class Outcome:
    """How a text ended. `finish_reason` is `stop`, `length`, `deadline`, `shutdown` or `disconnected`."""

    seed: int
    tokens: int
    finish_reason: str
    seconds: float
    unknown: tuple[str, ...]


class Desk:
    """Hands out at most `generations_at_once` writings; a further one is refused, not queued."""

    def __init__(self, settings: WebSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.clock = clock
        self.closed = False
        self._slots = threading.BoundedSemaphore(settings.generations_at_once)

    def open(
        self, model: TrainedModel, request: WriteRequest, is_client_gone: Callable[[], bool] = lambda: False
    ) -> Writing:
        """Validate the request with the model and take a slot; nothing is generated yet.

        Raises:
            Busy: every slot is taken, or the server is shutting down.
            UserError: the model refuses the settings.
        """
        if self.closed or not self._slots.acquire(blocking=False):
            raise Busy
        try:
            return Writing(self, model, request, is_client_gone)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give one slot back."""
        self._slots.release()

    def close(self) -> None:
        """End all writings at their next token and refuse new ones. Takes no lock, so a signal handler may call it."""
        self.closed = True


class Writing:
    """One text on its way: iterate over `pieces`, then read `outcome`; `close` at any time."""

    def __init__(
        self, desk: Desk, model: TrainedModel, request: WriteRequest, is_client_gone: Callable[[], bool]
    ) -> None:
        self.seed = resolve_seed(request.seed)
        self.unknown = tuple(model.tokenizer.unknown_in(request.prompt))
        self._desk = desk
        self._is_client_gone = is_client_gone
        self._deltas = model.stream(request.prompt, **request.sampling, seed=self.seed, n=1)
        self._started = desk.clock()
        self._ended: float | None = None
        self._tokens = 0
        self._finish_reason = "length"

    def pieces(self) -> Iterator[str]:
        """Yield the text as it is written, in non-empty pieces."""
        try:
            for delta in self._deltas:
                self._tokens = max(self._tokens, delta.tokens)
                if delta.text:
                    yield well_formed(delta.text)
                reason = delta.finish_reason or self._interruption()
                if reason is not None:
                    self._finish_reason = reason
                    break
        finally:
            self.close()

    @property
    def outcome(self) -> Outcome:
        """How the text ended, or how far it has come."""
        ended = self._desk.clock() if self._ended is None else self._ended
        return Outcome(self.seed, self._tokens, self._finish_reason, ended - self._started, self.unknown)

    def close(self) -> None:
        """Stop generating and free the slot; further calls do nothing."""
        if self._ended is not None:
            return
        self._ended = self._desk.clock()
        try:
            close = getattr(self._deltas, "close", None)
            if close is not None:
                close()
        finally:
            self._desk.release()

    def _interruption(self) -> str | None:
        if self._desk.closed:
            return "shutdown"
        if self._is_client_gone():
            return "disconnected"
        if self._desk.clock() - self._started > self._desk.settings.deadline_seconds:
            return "deadline"
        return None

"""Generation sessions, and the slots that bound how many of them run at once.

A `GenerationSession` owns one slot and one iterator of the model. However it ends (last token, deadline, client gone,
server shutdown, error), `close` stops the iterator and frees the slot, exactly once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unrolled.sampling.sampler import resolve_seed, sample_seed
from unrolled.serving.request import GenerationRequest
from unrolled.serving.settings import WebSettings
from unrolled.serving.slots import SlotQueue
from unrolled.text.unicode import well_formed

if TYPE_CHECKING:
    from unrolled.sampling import Delta
    from unrolled.trained import TrainedModel


class Busy(Exception):
    """All slots are taken and the request cannot wait any longer; the client may retry after `retry_after` seconds."""

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


@dataclass(frozen=True)
class SampleResult:
    """One sample, possibly partial. `finish_reason`: stop, length, deadline, shutdown, disconnected or error."""

    text: str
    finish_reason: str
    tokens: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """How a session ended: the finish reason of its last sample, the tokens of all samples."""

    seed: int
    tokens: int
    finish_reason: str
    seconds: float
    unknown: tuple[str, ...]


class GenerationSlots:
    """Opens at most `generations_at_once` sessions; a bounded number of further requests wait."""

    def __init__(
        self,
        settings: WebSettings,
        clock: Callable[[], float] = time.monotonic,
        while_waiting: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.closed = False
        self._queue = SlotQueue(settings.generations_at_once, settings.queue_length, clock, while_waiting)

    @property
    def waiting(self) -> int:
        """The number of requests that wait for a slot."""
        return self._queue.waiting

    def open(
        self,
        load: Callable[[], TrainedModel],
        request: GenerationRequest,
        is_client_gone: Callable[[], bool] = lambda: False,
    ) -> GenerationSession:
        """Load the model, validate the request against it, then take a slot; generation starts with `deltas`.

        The slot is taken last, so that neither a slow load nor an invalid request occupies one.

        Raises:
            Busy: the queue is full, no slot became free in time, the client left, or the server is shutting down.
            UserError: the model cannot be loaded, or rejects the settings.
        """
        if self.closed:
            raise self._busy()
        session = GenerationSession(self, load(), request, is_client_gone)
        if not self._queue.acquire(self.settings.queue_seconds, lambda: self.closed or is_client_gone()):
            raise self._busy()
        session.start()
        return session

    def retry_after(self) -> int:
        """Return the seconds after which a refused client may retry: random, over a wider range for a longer queue.

        Otherwise, clients that are refused together would all retry together.
        """
        rounds = self.waiting // max(self.settings.generations_at_once, 1)
        return 1 + secrets.randbelow(max(1, self.settings.retry_after_seconds, rounds))

    def release(self) -> None:
        """Free one slot."""
        self._queue.release()

    def close(self) -> None:
        """End all sessions at their next token and refuse new ones. Takes no lock, so a signal handler may call it."""
        self.closed = True

    def _busy(self) -> Busy:
        return Busy(self.retry_after())


class GenerationSession:
    """One request being answered: iterate over `deltas`, then read `outcome` and `samples`; `close` at any time.

    `GenerationSlots` creates it without a slot, which validates the request, and calls `start` once it holds one.
    """

    def __init__(
        self,
        slots: GenerationSlots,
        model: TrainedModel,
        request: GenerationRequest,
        is_client_gone: Callable[[], bool],
    ) -> None:
        self._model = model  # keeps it alive: a server unloads models that are not in use
        self.seed = resolve_seed(request.seed)
        defaults = {"n": 1, "max_tokens": _own_length(model.settings.sampling.max_tokens, request, slots.settings)}
        self.sampling = model.sampling(defaults | request.sampling | {"seed": self.seed})
        self.prompt, self.model_id = request.prompt, request.model_id
        self.kind, self.warnings = model.tokenizer.kind, tuple(getattr(model, "warnings", ()))
        self.unknown = tuple(model.tokenizer.unknown_in(request.prompt))
        self._slots = slots
        self._is_client_gone = is_client_gone
        self._deltas = model.stream_with(request.prompt, self.sampling)
        self._started = slots.clock()
        self._ended: float | None = None
        self._texts: list[list[str]] = [[] for _ in range(self.sampling.n)]
        self._tokens = [0] * self.sampling.n
        self._reasons: list[str | None] = [None] * self.sampling.n
        self._interrupted = "error"

    def start(self) -> None:
        """Start the clock, so that the wait for a slot does not count."""
        self._started = self._slots.clock()

    def deltas(self) -> Iterator[str]:
        """Yield the text as it is generated, in non-empty deltas; several samples are interleaved."""
        try:
            for delta in self._deltas:
                if text := self._record(delta):
                    yield text
                reason = self._interruption()
                if reason is not None and None in self._reasons:
                    self._interrupted = reason
                    break
        except GeneratorExit:
            self._interrupted = "disconnected"
            raise
        finally:
            self.close()

    @property
    def samples(self) -> list[SampleResult]:
        """All samples, complete or partial."""
        return [
            SampleResult("".join(text), reason or self._interrupted, tokens, sample_seed(self.seed, number))
            for number, (text, reason, tokens) in enumerate(zip(self._texts, self._reasons, self._tokens, strict=True))
        ]

    @property
    def outcome(self) -> Outcome:
        """How the session ended, or its progress so far."""
        ended = self._slots.clock() if self._ended is None else self._ended
        reason = self._interrupted if None in self._reasons else self.samples[-1].finish_reason
        return Outcome(self.seed, sum(self._tokens), reason, ended - self._started, self.unknown)

    def close(self) -> None:
        """Stop generation and free the slot; further calls do nothing."""
        if self._ended is not None:
            return
        self._ended = self._slots.clock()
        try:
            close = getattr(self._deltas, "close", None)
            if close is not None:
                close()
        finally:
            self._slots.release()

    def _record(self, delta: Delta) -> str:
        """Record a delta and return its text."""
        self._tokens[delta.sample] = delta.tokens
        self._reasons[delta.sample] = delta.finish_reason
        text = well_formed(delta.text)
        if text:
            self._texts[delta.sample].append(text)
        return text

    def _interruption(self) -> str | None:
        if self._slots.closed:
            return "shutdown"
        if self._is_client_gone():
            return "disconnected"
        if self._slots.clock() - self._started > self._slots.settings.deadline_seconds:
            return "deadline"
        return None


def _own_length(length: int, request: GenerationRequest, settings: WebSettings) -> int:
    """Return the model's own `max_tokens`, capped by the limits of this server."""
    return min(length, settings.max_tokens, settings.max_tokens_together // request.sampling.get("n", 1))

"""Loads models on demand, each in its own thread, so that a slow or hanging load blocks only its own requests.

A bounded number of requests wait for loads, each for a bounded time; the load itself continues without them. At most
`most` loads run at once, which bounds the memory that they need.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.trained import TrainedModel

MOST_LOADED = 8
LOAD_SECONDS = 10.0
MOST_WAITING = 64


class ModelUnavailable(UserError):
    """A served model that cannot be loaded now."""


class ModelLoading(ModelUnavailable):
    """A model whose load takes longer than a request may wait."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The model {name} is being loaded; please try again in a few seconds.")


class Unloadable(Protocol):
    """A model that can be unloaded and loaded again."""

    def unload(self) -> None:
        """Drop the reference to the model."""


class Load(threading.Thread):
    """One load in progress. Once the thread has ended, either `model` or `error` is set."""

    def __init__(self, name: str, load: Callable[[], TrainedModel], turns: threading.BoundedSemaphore) -> None:
        super().__init__(name=f"load {name}", daemon=True)  # a hanging load does not keep the process alive
        self.model_name = name
        self.model: TrainedModel | None = None
        self.error: BaseException | None = None
        self._load, self._turns = load, turns

    def run(self) -> None:
        """Wait for a free load slot, then load the model."""
        with self._turns:
            try:
                self.model = self._load()
            except BaseException as error:  # any failure is reported to the waiting requests
                self.error = error


class ModelLoader:
    """Loads models on demand and unloads the least recently used one beyond `most`.

    Args:
        explains_failures: whether a client is told why a load failed; otherwise only the log says so.
        most: how many models loaded on demand stay in memory, and how many loads run at once.
        seconds: how long a request waits for a load.
        most_waiting: how many requests wait for loads at once; further ones are refused immediately.
        while_waiting: returns the context manager inside which a thread waits.
    """

    def __init__(
        self,
        explains_failures: bool = True,
        most: int = MOST_LOADED,
        seconds: float = LOAD_SECONDS,
        most_waiting: int = MOST_WAITING,
        while_waiting: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self.explains_failures = explains_failures
        self._most, self._seconds, self._while_waiting = most, seconds, while_waiting
        self._turns = threading.BoundedSemaphore(most)
        self._waits = threading.BoundedSemaphore(most_waiting)
        self._recent: list[Unloadable] = []  # the most recently used one is last
        self._order = threading.Lock()

    def start(self, name: str, load: Callable[[], TrainedModel]) -> Load:
        """Start loading a model; `load` may raise ModelUnavailable."""
        started = Load(name, load, self._turns)
        started.start()
        return started

    def wait_for(self, load: Load) -> TrainedModel:
        """Wait for a load and return its model.

        Raises:
            ModelLoading: it takes longer than a request may wait, or too many requests wait.
            ModelUnavailable: it failed.
        """
        if not self._waits.acquire(blocking=False):
            raise ModelLoading(load.model_name)
        try:
            with self._while_waiting():
                load.join(self._seconds)
        finally:
            self._waits.release()
        if load.is_alive():
            raise ModelLoading(load.model_name)
        if load.model is None:
            raise ModelUnavailable(str(load.error)) from load.error
        return load.model

    def touch(self, served: Unloadable) -> None:
        """Mark a model as used now, and unload the least recently used one beyond the limit."""
        with self._order:
            self._recent = [*(other for other in self._recent if other is not served), served]
            for oldest in self._recent[: -self._most]:
                oldest.unload()
            self._recent = self._recent[-self._most :]

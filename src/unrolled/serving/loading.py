"""Loading models on demand: each in a thread of its own, so that a load that hangs or is slow blocks nobody else.

Requests wait for a load for a bounded time, and a bounded number of them at once; the load itself continues without
them. At most `most` models are loaded at one moment, which bounds the memory that loads in progress need.
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
    """A model of the list that cannot be loaded now."""


class ModelLoading(ModelUnavailable):
    """A model whose load takes longer than a request waits."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The model {name} is being loaded; please try again in a few seconds.")


class Unloadable(Protocol):
    """A model that can be loaded again."""

    def unload(self) -> None:
        """Forget the model."""


class Load(threading.Thread):
    """One load in progress. Once the thread has ended, `model` or `error` is there."""

    def __init__(self, name: str, load: Callable[[], TrainedModel], turns: threading.BoundedSemaphore) -> None:
        super().__init__(name=f"load {name}", daemon=True)  # a load that hangs does not keep the process
        self.model_name = name
        self.model: TrainedModel | None = None
        self.error: BaseException | None = None
        self._load, self._turns = load, turns

    def run(self) -> None:
        """Load the model when it is this load's turn."""
        with self._turns:
            try:
                self.model = self._load()
            except BaseException as error:  # whoever waits is told, whatever it is
                self.error = error


class ModelLoader:
    """How a server loads models: it holds `most`, and tells visitors or only the log why a load failed.

    Args:
        explains_failures: whether a visitor is told what is wrong with a model.
        most: the models loaded on demand that are held, and the loads at one moment.
        seconds: how long a request waits for a load.
        most_waiting: how many requests wait for loads at once; further ones are refused at once.
        while_waiting: gives the block inside which a thread waits.
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
        self._recent: list[Unloadable] = []  # the last one was asked for last
        self._order = threading.Lock()

    def start(self, name: str, load: Callable[[], TrainedModel]) -> Load:
        """Start to load a model; `load` may raise ModelUnavailable."""
        started = Load(name, load, self._turns)
        started.start()
        return started

    def wait_for(self, load: Load) -> TrainedModel:
        """Return what a load gives.

        Raises:
            ModelLoading: it takes longer than a request waits, or too many wait.
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
        """Take note that a model was asked for, and let go of the one that was not for longest."""
        with self._order:
            self._recent = [*(other for other in self._recent if other is not served), served]
            for oldest in self._recent[: -self._most]:
                oldest.unload()
            self._recent = self._recent[-self._most :]

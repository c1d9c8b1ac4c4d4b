"""The models that a server offers, each under an id; models may be loaded on first use.

A server keeps a bounded number of models that were loaded on demand. Beyond it, the least recently used one is
unloaded, and loaded again on its next use. A session in progress keeps its model in memory.

An id is derived from the model's name. If several models share a name, each id also contains the parent folder, so that
an id denotes the same model regardless of the order in which the models are given.
"""

from __future__ import annotations

import logging
import re
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.config import SamplingSettings, Settings
from unrolled.errors import UserError
from unrolled.serving.loading import Load, ModelLoader, ModelUnavailable
from unrolled.text.unicode import well_formed

if TYPE_CHECKING:
    from unrolled.trained import TrainedModel

LOG = logging.getLogger("unrolled.web")
LONGEST_ID = 60


class NoSuchModel(UserError):
    """A request names a model that this server does not offer; `known` lists the ids that it offers."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"There is no model {name!r}; there are: {', '.join(known)}.")
        self.known = list(known)


@dataclass(frozen=True)
class ModelFolder:
    """A model identified by the folder that the user named.

    Attributes:
        folder: that folder; a foreign checkpoint is loaded from a temporary run, whose name means nothing.
        load: loads the model; may raise any exception.
        settings: the model's settings, if they can be read without loading it.
        warnings: warnings for its users, likewise.
        model: the model, if it is loaded already.
    """

    folder: Path
    load: Callable[[], TrainedModel]
    settings: Settings | None = None
    warnings: tuple[str, ...] = ()
    model: TrainedModel | None = None

    @property
    def name(self) -> str:
        """The name that the model has once it is loaded."""
        return self.folder.resolve().name


@dataclass(frozen=True)
class ModelMetadata:
    """What remains known of a model after it is unloaded."""

    settings: Any
    warnings: tuple[str, ...]


class ServedModel:
    """A model in the picker: its `id`, the `name` to show, and its `own_name`; `ready` returns the model itself."""

    def __init__(self, identity: str, name: str, origin: TrainedModel | ModelFolder, loader: ModelLoader) -> None:
        self.id, self.name, self.own_name = identity, name, well_formed(origin.name)
        self._origin, self._loader = origin, loader
        self._lock = threading.Lock()  # held briefly, never during a load
        self._load: Load | None = None  # in progress
        self._model = origin.model if isinstance(origin, ModelFolder) else origin
        self._stays = self._model is not None
        self._weak: weakref.ref[TrainedModel] | None = None  # the unloaded model, while a session still uses it
        self._metadata: Any = self._origin if self._model is None else self._model
        self._kind = None if self._model is None else self._model.tokenizer.kind
        self._info = None if self._model is None else self._model.info()

    @property
    def loaded(self) -> TrainedModel | None:
        """The model if it is loaded, else None."""
        return self._model

    @property
    def info(self) -> dict[str, Any]:
        """The value of `TrainedModel.info`, read once per load; empty before the first load."""
        return {} if self._info is None else self._info

    @property
    def settings(self) -> Any:
        """The model's settings, or None if they cannot be known before it is loaded."""
        return self._metadata.settings

    @property
    def sampling(self) -> SamplingSettings:
        """The model's own decoding settings; the defaults while they are unknown."""
        return SamplingSettings() if self.settings is None else self.settings.sampling

    @property
    def kind(self) -> str:
        """The kind of the model's tokenizer; `token` while it is unknown."""
        if self._kind is not None:
            return self._kind
        return "token" if self.settings is None else self.settings.data.tokenizer

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for users of the model, for example that its vocabulary is a placeholder."""
        return tuple(well_formed(text) for text in getattr(self._metadata, "warnings", ()))

    def ready(self) -> TrainedModel:
        """Return the model, loading it in a separate thread if necessary.

        Raises:
            ModelLoading: the load takes longer than a request may wait, or too many requests wait; it continues.
            ModelUnavailable: it cannot be loaded.
        """
        model = self._model
        if model is None:
            model = self._awaited()
        if not self._stays:
            self._loader.touch(self)
        return model

    def unload(self) -> None:
        """Drop the model but keep its metadata, and a weak reference for as long as a session uses it."""
        if self._model is not None:
            self._weak, self._model = weakref.ref(self._model), None

    def _awaited(self) -> TrainedModel:
        """Return the model from memory, or wait for the load in progress, starting one if there is none."""
        with self._lock:
            model = self._held()
            if model is not None:
                self._model = model
                return model
            if self._load is None:
                self._load = self._loader.start(self.name, self._load_now)
            load = self._load
        return self._loader.wait_for(load)

    def _held(self) -> TrainedModel | None:
        """Return the model if another thread has loaded it or a session still uses it."""
        model = self._model  # read once: another thread may unload it at any time
        if model is None and self._weak is not None:
            model = self._weak()
        return model

    def _load_now(self) -> TrainedModel:
        """Load the model and publish it; runs in the thread of the load."""
        model = None
        try:
            model = self._loaded_now()
        finally:
            with self._lock:
                self._load, self._model = None, model  # last, so that a thread that sees the model sees its metadata
        self._loader.touch(self)  # even if no request waits any longer, so that it can be unloaded
        return model

    def _loaded_now(self) -> TrainedModel:
        """Load the model, record its metadata, and log the warnings that are new."""
        known_before = {*self.warnings, *self.info.get("notes", ())}
        model, self._info = self._opened()
        self._kind = model.tokenizer.kind
        self._metadata = ModelMetadata(model.settings, tuple(getattr(model, "warnings", ())))
        for text in (*self.warnings, *self.info.get("notes", ())):
            if text not in known_before:
                LOG.warning("%s: %s", self.name, text)
        return model

    def _opened(self) -> tuple[TrainedModel, dict[str, Any]]:
        try:
            model = self._origin.load()
            return model, model.info()
        except UserError as error:
            LOG.warning("the model %s cannot be loaded: %s", self.name, error)
            if self._loader.explains_failures:
                raise ModelUnavailable(f"The model {self.name} cannot be used. {error}") from error
            raise ModelUnavailable(f"The model {self.name} cannot be used right now.") from error
        except Exception as error:
            LOG.error("the model %s cannot be loaded", self.name, exc_info=error)
            raise ModelUnavailable(f"The model {self.name} cannot be loaded; the server's log says why.") from error


def served_models(
    origins: Sequence[TrainedModel | ModelFolder], loader: ModelLoader | None = None
) -> dict[str, ServedModel]:
    """Return the models by their ids, in the order given; the first is the default."""
    loader = ModelLoader() if loader is None else loader
    names = _names(origins)
    served: dict[str, ServedModel] = {}
    for origin, name in zip(origins, names, strict=True):
        identity = _free_id(name, served)
        served[identity] = ServedModel(identity, name, origin, loader)
    return served


def double_names(models: dict[str, ServedModel]) -> list[str]:
    """Return a sentence for each name that several models share, with their ids."""
    ids: dict[str, list[str]] = {}
    for model in models.values():
        ids.setdefault(model.own_name, []).append(model.id)
    return [
        f"{len(shared)} models are called {name}; they are offered as {', '.join(shared)}."
        for name, shared in ids.items()
        if len(shared) > 1
    ]


def _names(origins: Sequence[TrainedModel | ModelFolder]) -> list[str]:
    """Return the name to show for each model: its own, or `name (folder)` if several share it."""
    count = Counter(origin.name for origin in origins)
    shown = []
    for origin in origins:
        folder = getattr(origin, "folder", None)
        home = "" if folder is None else Path(folder).resolve().parent.name
        shown.append(well_formed(f"{origin.name} ({home})" if count[origin.name] > 1 and home else origin.name))
    return shown


def _free_id(name: str, taken: dict[str, ServedModel]) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST_ID] or "model"
    number = 1
    while (identity := stem if number == 1 else f"{stem}-{number}") in taken:
        number += 1
    return identity

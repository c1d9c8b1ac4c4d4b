"""The models that a server offers: ids that it made itself, and models that are loaded when they are first asked for.

Of the models that were loaded when they were asked for, a server holds a number; beyond it, the one that was not asked
for longest is let go of, and loaded again when it is asked for. Whoever writes with a model holds it, too.

An id is made from the model's name. Where several models have one name, none of them gets it as its id: each id then
names the folder that the model lies in as well, so that an id means the same model in whatever order they are given.
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
    """A request names a model that this server does not have; `known` are the ids of those that it has."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"There is no model {name!r}; there are: {', '.join(known)}.")
        self.known = list(known)


@dataclass(frozen=True)
class ModelFolder:
    """A model by the folder that it was asked for with.

    Attributes:
        folder: where it lies; a checkpoint from elsewhere is used from another place, which has no lasting name.
        load: opens it; may raise whatever goes wrong.
        settings: what it was trained with, where that can be read beforehand.
        warnings: what a user of it should know, likewise.
        model: the model, where it is loaded already.
    """

    folder: Path
    load: Callable[[], TrainedModel]
    settings: Settings | None = None
    warnings: tuple[str, ...] = ()
    model: TrainedModel | None = None

    @property
    def name(self) -> str:
        """The name that the model will have."""
        return self.folder.resolve().name


@dataclass(frozen=True)
class ModelMetadata:
    """What stays known of a model that is let go of."""

    settings: Any
    warnings: tuple[str, ...]


class ServedModel:
    """A model in the picker: `id`, the `name` to show, its `own_name`; `ready` gives the model itself, loaded once."""

    def __init__(self, identity: str, name: str, origin: TrainedModel | ModelFolder, loader: ModelLoader) -> None:
        self.id, self.name, self.own_name = identity, name, well_formed(origin.name)
        self._origin, self._loader = origin, loader
        self._lock = threading.Lock()  # held for moments only, never while the model is loaded
        self._load: Load | None = None  # in progress
        self._model = origin.model if isinstance(origin, ModelFolder) else origin
        self._stays = self._model is not None
        self._weak: weakref.ref[TrainedModel] | None = None  # the model that was let go of, if someone holds it
        self._metadata: Any = self._origin if self._model is None else self._model
        self._kind = None if self._model is None else self._model.tokenizer.kind
        self._info = None if self._model is None else self._model.info()

    @property
    def loaded(self) -> TrainedModel | None:
        """The model, where it is loaded."""
        return self._model

    @property
    def info(self) -> dict[str, Any]:
        """What `TrainedModel.info` says, read once; empty before the model is loaded."""
        return {} if self._info is None else self._info

    @property
    def settings(self) -> Any:
        """The model's settings, or None where it is not loaded and they could not be read beforehand."""
        return self._metadata.settings

    @property
    def sampling(self) -> SamplingSettings:
        """The model's own decoding settings, as far as they are known."""
        return SamplingSettings() if self.settings is None else self.settings.sampling

    @property
    def kind(self) -> str:
        """The kind of the model's tokenizer, as far as it is known."""
        if self._kind is not None:
            return self._kind
        return "token" if self.settings is None else self.settings.data.tokenizer

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user of the model should know, such as a vocabulary that is a placeholder."""
        return tuple(well_formed(text) for text in getattr(self._metadata, "warnings", ()))

    def ready(self) -> TrainedModel:
        """Return the model; where it is not loaded, load it in a thread of its own and wait for that, but not for long.

        Raises:
            ModelLoading: that takes longer, or too many requests wait for models already. The load continues.
            ModelUnavailable: it cannot be loaded.
        """
        model = self._model
        if model is None:
            model = self._awaited()
        if not self._stays:
            self._loader.touch(self)
        return model

    def unload(self) -> None:
        """Forget the model, but neither what is known of it nor, while someone writes with it, where it is."""
        if self._model is not None:
            self._weak, self._model = weakref.ref(self._model), None

    def _awaited(self) -> TrainedModel:
        """Return the model where someone holds it, or what the load in progress gives, which is started if need be."""
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
        """Return the model where another thread has loaded it, or where someone still writes with it."""
        model = self._model  # read once: it may be let go of at any time
        if model is None and self._weak is not None:
            model = self._weak()
        return model

    def _load_now(self) -> TrainedModel:
        """Load the model and offer it, in the thread of the load."""
        model = None
        try:
            model = self._loaded_now()
        finally:
            with self._lock:
                self._load, self._model = None, model  # last: who sees it sees the rest
        self._loader.touch(self)  # by requests that may have given up: it counts as one that can make room
        return model

    def _loaded_now(self) -> TrainedModel:
        """Load the model, take note of what is known of it, and log the warnings that are new."""
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
            raise ModelUnavailable(f"The model {self.name} cannot be used at the moment.") from error
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
    """Return a sentence for each name that several models share, with the ids that tell them apart."""
    ids: dict[str, list[str]] = {}
    for model in models.values():
        ids.setdefault(model.own_name, []).append(model.id)
    return [
        f"{len(shared)} models are called {name}; they are offered as {', '.join(shared)}."
        for name, shared in ids.items()
        if len(shared) > 1
    ]


def _names(origins: Sequence[TrainedModel | ModelFolder]) -> list[str]:
    """Return the name to show for each model: its own, or `name (folder)` where several have it."""
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

"""From the folders of a command line to the models of an application: at once, or when they are first asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from unrolled.serving.models import ModelFolder
from unrolled.shipped import BUNDLED_STORIES, run_directory

LOG = logging.getLogger("unrolled.web")


def open_models(
    run_folders: Sequence[str | Path],
    at_start: int,
    on_warning: Callable[[str], None] = LOG.warning,
    decoding: str = "float32",
) -> list[ModelFolder]:
    """Return models for `create_app`: loaded ones, or, where there are more than `at_start`, only the first one loaded.

    Without folders, the model that comes with the package. They write with weights of the precision `decoding`.

    Raises:
        UserError: a folder that is loaded now cannot be, or one that is loaded later holds no model.
    """
    folders = _without_repeats(run_folders or [BUNDLED_STORIES], on_warning)
    now = len(folders) if len(folders) <= at_start else 1
    return [model_folder(folder, number < now, decoding) for number, folder in enumerate(folders)]


def model_folder(folder: str | Path, is_loaded: bool, decoding: str = "float32") -> ModelFolder:
    """Return a model that is loaded now or later; what it was trained with is read in any case, where it says so.

    Raises:
        UserError: there is no such directory, or what is in it is damaged.
    """
    from unrolled.importers import holds_only_foreign_files
    from unrolled.runs import RunFolder
    from unrolled.trained import load

    path = run_directory(folder)
    load_it = partial(load, folder, device="cpu", decoding=decoding)
    if is_loaded:
        return ModelFolder(path, load_it, model=load_it())
    if holds_only_foreign_files(path):
        return ModelFolder(path, load_it)
    config = RunFolder(path).read_config()
    return ModelFolder(path, load_it, config.settings, tuple(config.warnings))


def _without_repeats(folders: Sequence[str | Path], on_warning: Callable[[str], None]) -> list[str | Path]:
    """Return each folder once, in the order given."""
    found: dict[Path, str | Path] = {}
    for folder in folders:
        place = Path(folder).resolve()
        if place in found:
            on_warning(f"{folder} was given twice; it is offered once.")
        found.setdefault(place, folder)
    return list(found.values())

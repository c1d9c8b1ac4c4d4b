"""Opens the run folders of a command line as models, loaded at start or on first use."""

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
    """Return models for `create_app`: all of them loaded, or only the first if there are more than `at_start`.

    Args:
        run_folders: run directories; if empty, the bundled model.
        at_start: the largest number of models that are all loaded now.
        on_warning: called with one sentence for each folder given twice.
        decoding: the precision of the weights used for generation.

    Raises:
        UserError: a model that is loaded now cannot be loaded, or a folder for later does not hold a model.
    """
    folders = _without_repeats(run_folders or [BUNDLED_STORIES], on_warning)
    now = len(folders) if len(folders) <= at_start else 1
    return [model_folder(folder, number < now, decoding) for number, folder in enumerate(folders)]


def model_folder(folder: str | Path, is_loaded: bool, decoding: str = "float32") -> ModelFolder:
    """Return a model that is loaded now or later; a run's settings are read now in either case.

    Raises:
        UserError: the directory does not exist or its content is damaged.
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

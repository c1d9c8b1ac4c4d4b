"""The bundled model: its name, and its run directory inside an installed package or beside `src` in a clone."""

from pathlib import Path

from unrolled.errors import UserError

BUNDLED_STORIES = "builtin:stories"  # the bundled text; where a run is expected, the bundled model trained on it
_PACKAGE = Path(__file__).resolve().parent
_CANDIDATES = (_PACKAGE / "artefacts" / "stories", _PACKAGE.parent.parent / "artefacts" / "stories")


def run_directory(run: str | Path) -> Path:
    """Return the directory of a run, which for `BUNDLED_STORIES` is the bundled model's.

    Raises:
        UserError: the bundled model is missing; other directories are not checked.
    """
    return shipped_model_folder() if str(run) == BUNDLED_STORIES else Path(run)


def shipped_model_folder() -> Path:
    """Return the run directory of the bundled stories model.

    Raises:
        UserError: it is in neither place.
    """
    for folder in _CANDIDATES:
        if (folder / "config.json").is_file():
            return folder
    places = " or ".join(str(folder) for folder in _CANDIDATES)
    raise UserError(
        f"The bundled model is missing (looked for {places}); install the package again, "
        "or train one with 'unrolled train SOURCE --out runs/mine' and serve that."
    )

"""Where the model that comes with the package lies: inside an installed package, or beside `src` in a clone."""

from pathlib import Path

from unrolled.errors import UserError

_PACKAGE = Path(__file__).resolve().parent
_CANDIDATES = (_PACKAGE / "artefacts" / "stories", _PACKAGE.parent.parent / "artefacts" / "stories")


def shipped_model_folder() -> Path:
    """Return the run directory of the shipped stories model.

    Raises:
        UserError: it is in neither place.
    """
    for folder in _CANDIDATES:
        if (folder / "config.json").is_file():
            return folder
    places = " or ".join(str(folder) for folder in _CANDIDATES)
    raise UserError(
        f"The shipped model is missing (looked for {places}); install the package again, "
        "or train one with 'unrolled train SOURCE --out runs/mine' and serve that."
    )

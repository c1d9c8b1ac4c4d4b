"""unrolled: a recurrent language-model toolkit whose LSTM is written from its equations.

    import unrolled

    unrolled.train("my-text.txt", "runs/mine", settings={"training.minutes": 5})
    model = unrolled.load("runs/mine")
    print(model.generate("Once upon a time", seed=7).samples[0].text)
    print(model.evaluate("other-text.txt").to_json()["bits_per_char"])

Names are imported when they are first used, so that `import unrolled` and `unrolled --help` take no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unrolled.version import __version__

if TYPE_CHECKING:
    from unrolled.errors import UserError
    from unrolled.export import export_torch
    from unrolled.importers import import_checkpoint
    from unrolled.shipped import shipped_model_folder
    from unrolled.trained import TrainedModel, load
    from unrolled.training import resume, train

_HOME = {
    "UserError": "unrolled.errors",
    "TrainedModel": "unrolled.trained",
    "load": "unrolled.trained",
    "train": "unrolled.training",
    "resume": "unrolled.training",
    "import_checkpoint": "unrolled.importers",
    "export_torch": "unrolled.export",
    "shipped_model_folder": "unrolled.shipped",
}

__all__ = [
    "TrainedModel",
    "UserError",
    "__version__",
    "export_torch",
    "import_checkpoint",
    "load",
    "resume",
    "shipped_model_folder",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'unrolled' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)

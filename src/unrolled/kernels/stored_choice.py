"""The kernel that was measured to be the fastest on this machine, stored between runs.

`unrolled bench kernels --store` writes the small file `kernel-choice.json` into the cache folder, and `select` reads
it. A choice applies only while everything that it depends on is unchanged: processor and cores, PyTorch, this package,
and the compiled variant. A file that is damaged, foreign or unreadable is ignored: it must not keep a model from
opening.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unrolled.atomic_write import replace_file
from unrolled.errors import UserError
from unrolled.files import read_regular
from unrolled.machine import default_cache_folder, machine_name
from unrolled.native import native_status, native_variant
from unrolled.strict_json import JsonProblem, parse_json
from unrolled.version import __version__

FORMAT_VERSION = 1
FILE_NAME = "kernel-choice.json"
LARGEST_BYTES = 10_000  # more than we ever write


@dataclass(frozen=True)
class StoredChoice:
    """A kernel, the shape at which it was measured, and the circumstances for which the measurement holds."""

    kernel: str
    shape: str
    circumstances: dict[str, str]

    def outdated(self) -> list[str]:
        """Return the names of the circumstances that have changed; an empty list if the choice still applies."""
        now = circumstances()
        return [name for name in now if now[name] != self.circumstances.get(name)]


def circumstances() -> dict[str, str]:
    """Return what the speed of a kernel depends on, apart from the shape."""
    return {
        "machine": machine_name(),
        "torch": torch.__version__,
        "unrolled": __version__,
        "native": _compiled(),
    }


def _compiled() -> str:
    """Return the compiled variant: whether it is pinned changes no speed."""
    variant = native_variant()
    return native_status() if variant is None else f"compiled C, {variant}"


def store_choice(kernel: str, shape: str) -> Path:
    """Store the kernel that was the fastest here at a shape; return the file.

    Raises:
        UserError: the file cannot be written.
    """
    choice = {"kernel": kernel, "shape": shape, "circumstances": circumstances()}
    content = json.dumps({"format_version": FORMAT_VERSION, **choice}, indent=2) + "\n"
    try:
        path = default_cache_folder() / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content.encode())
    except (OSError, RuntimeError) as problem:
        raise UserError(
            f"The choice of a kernel could not be stored ({problem}); set UNROLLED_CACHE to a writable folder, or "
            "choose the kernel with --kernel NAME."
        ) from None
    return path


def read_choice() -> StoredChoice | None:
    """Return the choice in the cache folder, outdated or not, or None without a valid file."""
    try:
        return _choice_in(parse_json(read_regular(default_cache_folder() / FILE_NAME, LARGEST_BYTES)))
    except (FileNotFoundError, UserError, JsonProblem, RuntimeError):  # RuntimeError: this user has no home folder
        return None


def _choice_in(value: Any) -> StoredChoice | None:
    if not isinstance(value, dict) or value.get("format_version") != FORMAT_VERSION:
        return None
    kernel, shape, measured = (value.get(name) for name in ("kernel", "shape", "circumstances"))
    if not (isinstance(kernel, str) and isinstance(shape, str) and isinstance(measured, dict)):
        return None
    return StoredChoice(kernel, shape, measured)

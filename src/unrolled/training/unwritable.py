"""Advice after a file of a run could not be written; it depends on whether a checkpoint has been written."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from unrolled.errors import UserError
from unrolled.runs import RunFolder, Unwritable


@contextmanager
def advice_if_unwritable(folder: RunFolder) -> Iterator[None]:
    """Add to an `Unwritable` how to resume training, or that it has to be started again.

    Raises:
        UserError: a file could not be written.
    """
    try:
        yield
    except Unwritable as error:
        raise UserError(f"{error} {_advice(folder)}") from error


def _advice(folder: RunFolder) -> str:
    if folder.checkpoint.is_file():
        resume = shlex.join(["unrolled", "train", "--resume", str(folder.path)])
        return f"What was saved before is still there; training continues with: {resume}."
    if folder.config.is_file():
        out = shlex.join(["--force", "--out", str(folder.path)])
        return f"No checkpoint had been saved yet; start again with the same command and {out}."
    return "Nothing had been saved yet."

"""Where encoded texts are kept between runs, and what happens if nothing can be kept.

Encoded corpora are in `corpora/` below the cache folder (`unrolled.machine`), one folder each, named by a key. A
folder appears whole or not at all: it is built under another name and then renamed. Its files are never written again,
so processes of `unrolled` cannot disturb one another; sizes are checked when an entry is opened. Where another program
changes the length of a file that is in use, the process that reads it says so and stops (`stored_ids`), and the entry
is rebuilt the next time.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from unrolled.errors import UserError
from unrolled.machine import default_cache_folder


def writable_corpora_folder(cache_folder: Path | None) -> tuple[Path, str | None]:
    """Return the folder for corpora, made if need be, and a note where a temporary one had to be taken."""
    folder = corpora_folder(cache_folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder, None
    except OSError as problem:
        if problem.errno == errno.ENOSPC:
            raise UserError(_disk_full(folder)) from None
        reason = problem.strerror or str(problem)
    temporary = Path(tempfile.mkdtemp(prefix="unrolled-corpora-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary, f"The cache folder {folder} cannot be written ({reason}); using {temporary} for this run only."


def corpora_folder(cache_folder: Path | None) -> Path:
    """Return the folder below which every corpus has its own."""
    return (default_cache_folder() if cache_folder is None else Path(cache_folder)) / "corpora"


def build_entry(entry: Path, fill: Callable[[Path], None], is_whole: Callable[[Path], bool]) -> None:
    """Make the folder `entry` with `fill`, in one step as others see it; a damaged one there is replaced.

    A whole entry that another process made in the meantime is kept.
    """
    building = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".building-"))
    try:
        fill(building)
        if entry.exists() and not is_whole(entry):
            shutil.rmtree(entry)
        try:
            building.rename(entry)
        except OSError:
            if not is_whole(entry):
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextlib.contextmanager
def disk_full_is_plain(folder: Path | None) -> Iterator[None]:
    """Turn 'no space left' into a plain sentence that names the folder."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(_disk_full(Path(tempfile.gettempdir()) if folder is None else folder)) from None


def _disk_full(folder: Path) -> str:
    return f"The disk with {folder} is full; make room there, or set UNROLLED_CACHE to a folder on a larger one."

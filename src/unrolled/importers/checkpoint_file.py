"""A PyTorch checkpoint, `.pt`, opened without trust: tensors and plain containers come out, nothing is executed.

A `.pt` file is a zip archive of a pickle, `data.pkl`, and one uncompressed record for each tensor. Before PyTorch sees
it, the archive must hold no more than the file is long (a few kilobytes of zip can claim gigabytes), and the pickle may
name nothing but tensors and ordered dicts: `weights_only=True` alone would also build a bytearray of any length.

Known holes of `weights_only`: CVE-2025-32434 (before torch 2.6) and CVE-2026-24747 (before 2.10).
"""

from __future__ import annotations

import os
import re
import stat
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from unrolled.errors import UserError
from unrolled.importers.pickles import NotPlain, Rules, check_pickle

SAFE_TORCH = (2, 10)
MAX_CHECKPOINT_BYTES = 16 * 2**30
MAX_PICKLE_BYTES = 64 * 2**20  # the names and shapes of all tensors, and a vocabulary perhaps
SAVE_TENSORS = "where it was made, save the tensors alone: torch.save(model.state_dict(), 'model.pt')"

TENSOR_NAMES = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor_v2|parameter)|torch\.nn\.parameter\.Parameter"
    r"|torch\.([A-Z][A-Za-z0-9]*Storage|Size|device|float16|bfloat16|float32|float64|int32|int64|bool)"
)
# What torch.save writes; a memo needs no table here, for PyTorch keeps it in a dict.
BUILDS = """
    PROTO STOP MARK GLOBAL REDUCE BUILD NEWOBJ BINPERSID EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE NEWFALSE BINUNICODE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINPUT LONG_BINPUT BINGET LONG_BINGET
"""
RULES = Rules(frozenset(BUILDS.split()), lambda name: TENSOR_NAMES.fullmatch(name) is not None, protocol=2)


def read_checkpoint(path: Path) -> Any:
    """Return what a `.pt` file holds: tensors on the CPU in plain containers.

    Raises:
        UserError: it is missing, damaged, no such file, a bomb, or holds anything that would have to be executed.
    """
    check_torch(torch.__version__)
    with open_regular(path, MAX_CHECKPOINT_BYTES) as file:
        _check_format(file.read(512), path)
        _check_archive(file, path)
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch's remarks about what it is about to refuse
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a hostile file can make PyTorch raise anything
            raise UserError(f"{path} is damaged: PyTorch cannot read its tensors; copy it again.") from error


def check_torch(version: str) -> None:
    """Refuse a PyTorch whose way of opening checkpoints is known to run code that is hidden in them.

    Raises:
        UserError: it is too old.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < SAFE_TORCH:
        raise UserError(
            f"PyTorch {version} has known holes in opening checkpoints from elsewhere; install torch 2.10 or newer to "
            "import one."
        )


def open_regular(path: Path, most_bytes: int) -> BinaryIO:
    """Open a regular file of bounded size, through links; a pipe or device would never end.

    Raises:
        UserError: it is missing, something else, too large or unreadable.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{path} is a {_kind(about.st_mode)}, not a file; give the path of the file itself.")
        if about.st_size > most_bytes:
            raise UserError(f"{path} is larger than {most_bytes // 2**20:,} MiB, too large to be what it should be.")
        return path.open("rb")
    except FileNotFoundError:
        raise UserError(f"There is no file {path}; check the path.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check the path.") from None


def is_archive(start: bytes) -> bool:
    """Tell whether a file begins as what `torch.save` writes."""
    return start.startswith(b"PK\x03\x04")


def _check_format(start: bytes, path: Path) -> None:
    """Say of a file that is no archive what it is instead."""
    if is_archive(start):
        return
    if start.startswith(b"\x80") or start[257:262] == b"ustar":
        raise UserError(
            f"{path} is in the old format of PyTorch, which cannot be opened safely; write it anew where you trust it: "
            "torch.save(torch.load('old.pt', weights_only=True), 'new.pt')."
        )
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} is the pointer that Git LFS leaves in place of a file; fetch it: git lfs pull.")
    raise UserError(f"{path} is no PyTorch checkpoint; expected is a file that torch.save wrote.")


def _check_archive(file: BinaryIO, path: Path) -> None:
    """Refuse an archive that claims more than the file holds, and a pickle that is not plain tensors."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_sizes(entries, os.fstat(file.fileno()).st_size, path)
            data = archive.read(_pickle_entry(entries, path))
        check_pickle(data, RULES)
    except NotPlain as reason:
        raise UserError(f"{path} {reason}; {SAVE_TENSORS}.") from None
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path} is truncated or damaged; copy it again.") from error


def _check_sizes(entries: list[zipfile.ZipInfo], size_bytes: int, path: Path) -> None:
    names = [entry.filename for entry in entries]
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
        raise UserError(f"{path} is a compressed or encrypted archive, which torch.save never writes; {SAVE_TENSORS}.")
    if sum(entry.file_size for entry in entries) > size_bytes:
        raise UserError(f"{path} claims to hold more than the file is long; copy it again, or do not trust it.")
    if len(set(names)) < len(names):
        raise UserError(f"{path} holds two records of one name; do not trust it.")


def _pickle_entry(entries: list[zipfile.ZipInfo], path: Path) -> zipfile.ZipInfo:
    """Return the one entry `NAME/data.pkl`."""
    names = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in names:
        raise UserError(f"{path} is a TorchScript program, and opening it would run it; {SAVE_TENSORS}.")
    found = [entry for entry in entries if entry.filename.partition("/")[2] == "data.pkl"]
    if len(found) != 1:
        raise UserError(f"{path} is an archive but no PyTorch checkpoint; expected is a file that torch.save wrote.")
    if found[0].file_size > MAX_PICKLE_BYTES:
        raise UserError(f"{path} describes its tensors in {found[0].file_size:,} bytes, too many; {SAVE_TENSORS}.")
    return found[0]


def _kind(mode: int) -> str:
    return "directory" if stat.S_ISDIR(mode) else "device or pipe"

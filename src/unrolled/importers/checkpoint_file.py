"""A PyTorch checkpoint, `.pt`, opened without trust and without PyTorch's own reader of such files.

    NAME/data.pkl     a pickle: which tensors there are, and what else was saved with them
    NAME/data/0 ...   their numbers
    NAME/byteorder    `little` or `big`

`torch.load` reads the same zip archive with its own reader, which ignores case in the names of records, and runs the
pickle on its own machine, which has had vulnerabilities (CVE-2025-32434, CVE-2026-24747). A check made beforehand could
see something else than what it opens. So each layer is read once, here, by the code that checks it: `zip_records`,
`pickles`, `stored_tensors`. Tensors and plain containers come out, and nothing is executed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from unrolled.errors import UserError
from unrolled.files import open_regular
from unrolled.importers.pickles import read_pickle
from unrolled.importers.refusals import Damaged, NotPlain
from unrolled.importers.stored_tensors import StoredTensors
from unrolled.importers.zip_records import Record, find_records, read_record

MAX_CHECKPOINT_BYTES = 16 * 2**30
HASHED_AT_ONCE_BYTES = 2**20
MAX_PICKLE_BYTES = 64 * 2**20  # the names and shapes of all tensors, and a vocabulary perhaps
SAVE_TENSORS = "where it was made, save the tensors alone: torch.save(model.state_dict(), 'model.pt')"


def read_checkpoint(path: Path) -> Any:
    """Return what a `.pt` file holds: tensors on the CPU in plain containers.

    Raises:
        UserError: it is missing, damaged, not such a file, a bomb, or holds anything that would have to be executed.
    """
    with open_foreign(path, MAX_CHECKPOINT_BYTES) as file:
        return read_open_checkpoint(file, path)


def read_hashed_checkpoint(path: Path) -> tuple[Any, str]:
    """Return the same, and the file's SHA-256 as hexadecimal text.

    The file is opened once: the hash is that of the content that was read, even if the path leads elsewhere by then.

    Raises:
        UserError: as above.
    """
    with open_foreign(path, MAX_CHECKPOINT_BYTES) as file:
        return read_open_checkpoint(file, path), _sha256(file, path)


def read_open_checkpoint(file: BinaryIO, path: Path) -> Any:
    """Do the same with a file that is open already.

    Raises:
        UserError: as above.
    """
    try:
        file.seek(0)
        _check_format(file.read(512), path)
        return _read(file, path)
    except Damaged as reason:
        raise UserError(f"{path} {reason}; copy it again, and do not trust it if that changes nothing.") from None
    except NotPlain as reason:
        raise UserError(f"{path} {reason}; {SAVE_TENSORS}.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from None
    except MemoryError:
        raise UserError(f"There is not enough memory to read {path}; close other programs.") from None


def open_foreign(path: Path, largest_bytes: int) -> BinaryIO:
    """Open a regular file of bounded size.

    Raises:
        UserError: it is missing, something else, too large or unreadable.
    """
    try:
        return open_regular(path, largest_bytes)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}; check the path.") from None


def is_archive(start: bytes) -> bool:
    """Tell whether a file begins as what `torch.save` writes."""
    return start.startswith(b"PK\x03\x04")


def _sha256(file: BinaryIO, path: Path) -> str:
    """Hash an open file, up to its present end even if it keeps growing."""
    digest = hashlib.sha256()
    try:
        left = os.fstat(file.fileno()).st_size
        file.seek(0)
        while block := file.read(min(left, HASHED_AT_ONCE_BYTES)):
            digest.update(block)
            left -= len(block)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from None
    return digest.hexdigest()


def _check_format(start: bytes, path: Path) -> None:
    """Say of a file that is not an archive what it is instead."""
    if is_archive(start):
        return
    if start.startswith(b"\x80") or start[257:262] == b"ustar":
        raise UserError(
            f"{path} is in the old format of PyTorch, which cannot be opened safely; write it again where you "
            "trust it: torch.save(torch.load('old.pt', weights_only=True), 'new.pt')."
        )
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} is the pointer that Git LFS leaves in place of a file; fetch it: git lfs pull.")
    raise UserError(f"{path} is not a PyTorch checkpoint; expected is a file that torch.save wrote.")


def _read(file: BinaryIO, path: Path) -> Any:
    records = _inside(find_records(file), path)
    data = bytearray(_pickle_record(records, path).size_bytes)
    read_record(file, records["data.pkl"], memoryview(data))
    return read_pickle(bytes(data), StoredTensors(file, records).rules())


def _inside(records: Mapping[str, Record], path: Path) -> dict[str, Record]:
    """Return the records by their names below the one folder that all of them are in."""
    names = {name: name.partition("/") for name in records}
    inside = {rest: records[name] for name, (_, _, rest) in names.items()}
    if len({folder for folder, _, _ in names.values()}) != 1 or "" in inside or "data.pkl" not in inside:
        raise UserError(f"{path} is an archive but not a PyTorch checkpoint; expected is a file that torch.save wrote.")
    return inside


def _pickle_record(records: Mapping[str, Record], path: Path) -> Record:
    if "constants.pkl" in records:
        raise UserError(f"{path} is a TorchScript program, and opening it would run it; {SAVE_TENSORS}.")
    record = records["data.pkl"]
    if record.size_bytes > MAX_PICKLE_BYTES:
        raise UserError(f"{path} describes its tensors in {record.size_bytes:,} bytes, too many; {SAVE_TENSORS}.")
    return record

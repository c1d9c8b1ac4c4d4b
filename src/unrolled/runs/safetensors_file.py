"""Reading safetensors files (https://github.com/huggingface/safetensors) into memory of our own.

    8 bytes   n, the length of the header, little-endian
    n bytes   a JSON object: {"__metadata__": {name: text}, tensor: {"dtype": "F32", "shape": [2, 3],
              "data_offsets": [begin, end]}, ...}; offsets are counted from the end of the header
    the rest  the tensors' bytes, one after the other without holes, to the end of the file

The library maps a file into memory and returns tensors that lie in the map: a process that uses them ends with SIGBUS
once another program shortens the file. Here the whole header is checked first, and each tensor is then read into memory
that was allocated for it. What this reader accepts the library accepts too; the reverse does not hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from unrolled.files import open_regular
from unrolled.strict_json import JsonProblem, is_unicode, parse_json

LENGTH_BYTES = 8
LARGEST_HEADER_BYTES = 8 * 2**20  # the library reads 100 MB; 1,000 tensors take a tenth of one
MOST_DIMENSIONS = 8
MOST_ELEMENTS = 2**48
BLOCK_BYTES = 2**20
METADATA = "__metadata__"
DTYPES = {  # all that a run holds, and room for more; BOOL is left out because its bytes could be neither 0 nor 1
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
}
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


class SafetensorsProblem(ValueError):
    """A file is not a safetensors file that can be used; the message is a clause that follows the name of the file."""


@dataclass(frozen=True)
class Entry:
    """A tensor in a file: its type by the format's name, its shape, its first byte and the one after its last."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """A file whose header was found to be sound.

    Attributes:
        metadata: names and texts.
        entries: the tensors by name, in the order of their bytes.
        size_bytes: of the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size_bytes = os.fstat(file.fileno()).st_size
        self._digest = hashlib.sha256()
        header = self._header()
        self.metadata, entries = _parsed(header)
        self.entries = _in_order(entries, self.size_bytes - LENGTH_BYTES - len(header))

    def read(self) -> dict[str, Tensor]:
        """Return all tensors; they can be read once.

        Raises:
            SafetensorsProblem: another program has shortened the file, or it cannot be read.
        """
        tensors = {}
        for name, entry in self.entries.items():
            tensors[name] = torch.empty(entry.shape, dtype=DTYPES[entry.dtype])
            self._fill(tensors[name])
        return tensors

    @property
    def sha256(self) -> str:
        """The SHA-256, in hexadecimal, of all that was read: after `read`, that of the file."""
        return self._digest.hexdigest()

    def _header(self) -> bytes:
        length = int.from_bytes(self._exactly(LENGTH_BYTES), "little")
        if length > LARGEST_HEADER_BYTES:
            raise SafetensorsProblem(f"has a header of {length:,} bytes")
        return self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        with _read_errors():
            content = self._file.read(size)
        if len(content) != size:
            raise SafetensorsProblem("ends within its header")
        self._digest.update(content)
        return content

    def _fill(self, tensor: Tensor) -> None:
        """Read the next bytes of the file into a tensor."""
        rest = memoryview(tensor.reshape(-1).view(torch.uint8).numpy())
        while rest:
            with _read_errors():
                count = self._file.readinto(rest[:BLOCK_BYTES])
            if not count:
                raise SafetensorsProblem("has become shorter while it was being read")
            self._digest.update(rest[:count])
            rest = rest[count:]


@contextlib.contextmanager
def open_safetensors(path: Path, largest_bytes: int = sys.maxsize) -> Iterator[SafetensorsFile]:
    """Open a file and check its header; no memory is allocated for tensors yet.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is not a regular file, is larger than `largest_bytes`, or cannot be opened.
        SafetensorsProblem: its content is not in the format.
    """
    with open_regular(path, largest_bytes) as file:
        yield SafetensorsFile(file)


@contextlib.contextmanager
def _read_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SafetensorsProblem(f"cannot be read ({error.strerror or error})") from None


def _parsed(header: bytes) -> tuple[dict[str, str], dict[str, Entry]]:
    """Return the metadata and the entries, each of them sound by itself."""
    if not header.startswith(b"{"):
        raise SafetensorsProblem("has a header that is not a JSON object")
    try:
        values = parse_json(header, pairs_hook=_distinct, number_hook=_whole)
    except JsonProblem as problem:
        raise SafetensorsProblem(f"has a header that {problem}") from None
    metadata = values.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise SafetensorsProblem("has metadata other than texts")
    if not all(map(is_unicode, [*values, *metadata, *metadata.values()])):
        raise SafetensorsProblem("has a text that is not Unicode in its header")
    return metadata, {name: _entry(value) for name, value in values.items()}


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise JsonProblem("holds a name twice")
    return values


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise JsonProblem(f"holds a number that is not a size ({text:.30})")
    return int(text)


def _entry(value: Any) -> Entry:
    """Return an entry whose type is known and whose shape fills its bytes exactly."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise SafetensorsProblem("has a tensor without a type, a shape and a place")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise SafetensorsProblem(f"has a tensor of the type {dtype!r:.30}")
    if not _are_sizes(shape) or len(shape) > MOST_DIMENSIONS or math.prod(max(1, n) for n in shape) > MOST_ELEMENTS:
        raise SafetensorsProblem("has a tensor of an impossible shape")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise SafetensorsProblem("has a tensor at an impossible place")
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
        raise SafetensorsProblem("has a tensor whose shape and size disagree")
    return Entry(dtype, tuple(shape), begin, end)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int for number in value)


def _in_order(entries: dict[str, Entry], data_bytes: int) -> dict[str, Entry]:
    """Return the entries in the order of their bytes, which must be all of the data, each of them once."""
    in_order = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    position = 0
    for entry in in_order.values():
        if entry.begin != position:
            raise SafetensorsProblem("has tensors that overlap, or holes between them")
        position = entry.end
    if position != data_bytes:
        raise SafetensorsProblem(f"holds {data_bytes:,} bytes of data, but its header describes {position:,}")
    return in_order

"""Tensors from the two halves that `torch.save` makes of them: a description in the pickle, numbers in a record.

    storage   ("storage", kind, key, location, count)      the record data/KEY: `count` numbers of this kind
    tensor    (storage, offset, shape, strides, ...)       a view of them, which must lie inside

Everything that could be called in PyTorch's own reading of these has a stand-in here that checks its arguments.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

from unrolled.errors import UserError
from unrolled.importers.pickles import Maker, Rules
from unrolled.importers.refusals import Damaged, NotPlain
from unrolled.importers.zip_records import Record, read_record

MOST_TENSORS_MADE = 20_000  # each takes about a kilobyte, and only a few bytes of the pickle
MOST_DIMENSIONS = 16
LARGEST_COUNT = 2**48
KINDS = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
TYPES = ("float16", "bfloat16", "float32", "float64", "int32", "int64", "bool")
# What torch.save writes
INSTRUCTIONS = """
    PROTO STOP MARK GLOBAL REDUCE BUILD NEWOBJ BINPERSID EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE NEWFALSE BINUNICODE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINPUT LONG_BINPUT BINGET LONG_BINGET
"""


@dataclass(frozen=True)
class Kind:
    """The kind of numbers in a storage, as `torch.FloatStorage` names it."""

    dtype: torch.dtype


@dataclass(frozen=True)
class Storage:
    """The numbers of a record, one after the other."""

    numbers: Tensor


class StoredTensors:
    """Makes tensors of descriptions and records."""

    def __init__(self, file: BinaryIO, records: Mapping[str, Record]) -> None:
        """Take the records by their names inside the archive: `data/0`, `byteorder`."""
        self._file, self._records = file, records
        self._storages: dict[str, Storage] = {}
        self._made = 0
        self._swapped = self._byte_order() != sys.byteorder

    def rules(self) -> Rules:
        """Return what a checkpoint's pickle may hold."""
        names = {
            "collections OrderedDict": Maker(_ordered_dict),
            "torch._utils _rebuild_tensor_v2": Maker(self._tensor),
            "torch._utils _rebuild_parameter": Maker(_parameter),
            "torch.nn.parameter Parameter": Maker(_parameter),
            "torch Size": Maker(_size),
            "torch device": Maker(_device),
            **{f"torch {name}": getattr(torch, name) for name in TYPES},
            **{f"torch {name}": Kind(dtype) for name, dtype in KINDS.items()},
        }
        return Rules(frozenset(INSTRUCTIONS.split()), names, self._storage, protocol=2)

    def _byte_order(self) -> str:
        """Return the order of a number's bytes on the machine that wrote the file."""
        record = self._records.get("byteorder")
        if record is None:
            return "little"  # files from before torch 2.1, when nobody had another one
        order = bytearray(min(record.size_bytes, 16))
        if record.size_bytes == len(order):
            read_record(self._file, record, memoryview(order))
        if order not in (b"little", b"big"):
            raise Damaged("is damaged: it does not say in which order it keeps the bytes of a number")
        return order.decode()

    def _storage(self, reference: Any) -> Storage:
        """Return the numbers that a reference of the pickle names; a record is read once."""
        if type(reference) is not tuple or len(reference) != 5 or reference[0] != "storage":
            raise Damaged("is damaged: it refers to something that is not the storage of a tensor")
        _, kind, key, _, count = reference
        if type(kind) is not Kind or type(key) is not str or type(count) is not int:
            raise Damaged("is damaged: it refers to a storage of no known kind")
        if key not in self._storages:
            self._storages[key] = self._read(key, kind)
        numbers = self._storages[key].numbers
        if (numbers.dtype, numbers.numel()) != (kind.dtype, count):
            raise Damaged(f"is damaged: its record data/{key:.40} does not hold {count:,} numbers of {kind.dtype}")
        return self._storages[key]

    def _read(self, key: str, kind: Kind) -> Storage:
        record = self._records.get(f"data/{key}")
        if record is None or record.size_bytes % kind.dtype.itemsize:
            raise Damaged(f"is damaged: its record data/{key:.40} is missing or of a wrong size")
        content = _room(record.size_bytes)
        if record.size_bytes:
            read_record(self._file, record, memoryview(content.numpy()))
        if self._swapped:
            width = kind.dtype.itemsize // (2 if kind.dtype.is_complex else 1)
            content = content.view(-1, width).flip(1).view(-1)
        return Storage(content.view(kind.dtype))

    def _tensor(
        self, storage: Any, offset: Any, shape: Any, strides: Any, _gradient: Any, _hooks: Any, _about: Any = None
    ) -> Tensor:
        """Return a view of a storage."""
        self._made += 1
        if self._made > MOST_TENSORS_MADE:
            raise NotPlain(f"holds more than {MOST_TENSORS_MADE:,} tensors")
        if type(storage) is not Storage or not _is_shape(shape) or not _is_shape(strides) or not _is_shape((offset,)):
            raise Damaged("is damaged: it describes a tensor that cannot be")
        last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        taken = offset if 0 in shape else offset + last + 1
        if taken > storage.numbers.numel() or math.prod(shape) > LARGEST_COUNT:
            raise Damaged(f"is damaged: a tensor of the shape {shape} is larger than its storage")
        return storage.numbers.as_strided(shape, strides, offset)


def _room(size_bytes: int) -> Tensor:
    try:
        return torch.empty(size_bytes, dtype=torch.uint8)
    except RuntimeError:
        raise UserError(
            f"There is not enough memory for a tensor of {size_bytes:,} bytes; close other programs."
        ) from None


def _is_shape(numbers: Any) -> bool:
    """Tell whether these are a few whole numbers that are not negative."""
    if type(numbers) is not tuple or len(numbers) > MOST_DIMENSIONS:
        return False
    return all(type(number) is int and 0 <= number <= LARGEST_COUNT for number in numbers)


def _ordered_dict() -> dict[Any, Any]:
    """The order is that of any dict."""
    return {}


def _parameter(data: Any, _gradient: Any = True, _hooks: Any = None) -> Tensor:
    """A parameter is its tensor."""
    if type(data) is not Tensor:
        raise Damaged("is damaged: a parameter in it is not a tensor")
    return data


def _size(shape: Any) -> Any:
    if not _is_shape(shape):
        raise Damaged("is damaged: it holds a size that cannot be")
    return shape


def _device(name: Any, _number: Any = None) -> Any:
    """The name stands for the device: all tensors are on the CPU here."""
    return name

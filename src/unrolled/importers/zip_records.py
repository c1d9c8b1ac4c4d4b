"""The records of a zip archive that `torch.save` wrote, found in the only way in which every zip reader finds them.

The format (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT) says most things twice: in the directory at the
end, and around each record. Readers differ in which of the two they believe, in what they skip, and in how they compare
names. Here both must agree, and every byte of the file must be accounted for, without gaps, overlaps or comments:

    (local header, record, descriptor)*    directory    (ZIP64 end, ZIP64 locator)?    end

All records are stored; none is compressed, so an archive never holds more than the file is long.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from unrolled.importers.refusals import Damaged, NotPlain

MOST_RECORDS = 20_000  # 2,000 tensors, two numbers of the optimizer for each of theirs, and as many again
MOST_DIRECTORY_BYTES = 8 * 2**20
LONGEST_NAME_BYTES = 1_000
BLOCK_BYTES = 2**22

END = struct.Struct("<I4H2IH")  # signature, 2 disks, entries on this disk, entries, bytes, offset, bytes of comment
END64 = struct.Struct("<IQ2H2I4Q")  # signature, bytes that follow, 2 versions, 2 disks, and as above
LOCATOR = struct.Struct("<IIQI")  # signature, disk, offset of END64, disks
ENTRY = struct.Struct("<I6H3I5H2I")
LOCAL = struct.Struct("<I5H3I2H")
SIZES, SIZES_64 = struct.Struct("<II"), struct.Struct("<QQ")  # packed and unpacked
IS_LOCAL, IS_ENTRY, IS_END, IS_END64, IS_LOCATOR, IS_DESCRIPTOR = (
    int.from_bytes(signature, "little")
    for signature in (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08")
)
ENCRYPTED, DESCRIBED, UTF8 = 1 << 0, 1 << 3, 1 << 11  # flags; DESCRIBED: checksum and sizes follow the record
ZIP64, PADDING = 0x0001, 0x4246  # kinds of extra field: numbers above 32 bits, and PyTorch's "FB"
DOS_ATTRIBUTES = 0xFFFF  # one of them makes a record a folder, which PyTorch reads as nothing
ONES_16, ONES_32 = 2**16 - 1, 2**32 - 1  # "see the ZIP64 field"


@dataclass(frozen=True)
class Record:
    """Where the bytes of a record are, and their checksum."""

    start: int
    size_bytes: int
    crc32: int


class _Directory(NamedTuple):
    entries: int
    size_bytes: int
    offset: int


class _Entry(NamedTuple):
    name: bytes
    flags: int
    crc32: int
    size_bytes: int
    offset: int


def find_records(file: BinaryIO) -> dict[str, Record]:
    """Return where each record of an archive is, by name.

    Raises:
        NotPlain: a record is compressed or encrypted, or there are too many.
        Damaged: the archive is truncated, or two readers could see different records in it.
    """
    directory = _find_directory(file, os.fstat(file.fileno()).st_size)
    if directory.entries > MOST_RECORDS or directory.size_bytes > MOST_DIRECTORY_BYTES:
        raise NotPlain(f"holds {directory.entries:,} records, far more than any model needs")
    block = _read(file, directory.offset, directory.size_bytes)
    entries = list(_entries(block, directory.entries))
    if sum(entry.size_bytes for entry in entries) > directory.offset:
        raise Damaged("claims to hold more than the file is long")
    return dict(zip(_names(entries), _located(file, entries, directory.offset), strict=True))


def read_record(file: BinaryIO, record: Record, into: memoryview) -> None:
    """Fill `into`, which is as long as the record, with its bytes.

    Raises:
        Damaged: they do not have the checksum that the archive promises.
    """
    file.seek(record.start)
    crc32 = 0
    for start in range(0, record.size_bytes, BLOCK_BYTES):
        block = into[start : start + BLOCK_BYTES]
        if file.readinto(block) != len(block):
            raise _cut_off()
        crc32 = zlib.crc32(block, crc32)
    if crc32 != record.crc32:
        raise Damaged("is damaged: a record does not have the checksum that the archive promises")


def _find_directory(file: BinaryIO, size_bytes: int) -> _Directory:
    """Read the end of the file, which says where the directory is: directly before it."""
    end = size_bytes - END.size
    signature, disk, first_disk, here, entries, length, offset, comment = END.unpack(_read(file, end, END.size))
    if signature != IS_END or comment:
        raise _cut_off()
    if (disk, first_disk, here) != (0, 0, entries):
        raise _unclear("it is a part of several")
    directory, large = _Directory(entries, length, offset), _find_large_directory(file, end)
    if large is not None:
        end -= LOCATOR.size + END64.size
    if not _agree(directory, large):
        raise _unclear("its two ends describe different directories")
    directory = large or directory
    if directory.offset + directory.size_bytes != end:
        raise _unclear("its directory is not where its end says")
    return directory


def _find_large_directory(file: BinaryIO, end: int) -> _Directory | None:
    """Read the ZIP64 end, which PyTorch always writes, if there is one."""
    start = end - LOCATOR.size - END64.size
    if start < 0:
        return None
    block = _read(file, start, end - start)
    signature, disk, offset, disks = LOCATOR.unpack_from(block, END64.size)
    if signature != IS_LOCATOR:
        return None
    about = END64.unpack_from(block)
    fixed, (here, entries, length, directory_offset) = (*about[:2], *about[4:6]), about[6:]
    if (disk, disks, offset) != (0, 1, start) or fixed != (IS_END64, END64.size - 12, 0, 0) or here != entries:
        raise _unclear("its ZIP64 end is not as it should be")
    return _Directory(entries, length, directory_offset)


def _agree(directory: _Directory, large: _Directory | None) -> bool:
    """Tell whether the two ends say the same; numbers that are too large for the classic one are in the other."""
    ones = _Directory(ONES_16, ONES_32, ONES_32)
    if large is None:
        return all(old != all_ones for old, all_ones in zip(directory, ones, strict=True))
    return all(old in (new, all_ones) for old, new, all_ones in zip(directory, large, ones, strict=True))


def _entries(block: bytes, count: int) -> Iterator[_Entry]:
    """Yield what the directory says of each record; it holds this and nothing else."""
    place = 0
    for _ in range(count):
        if len(block) - place < ENTRY.size:
            raise _cut_off()
        header = ENTRY.unpack_from(block, place)
        start, (name, extra, comment) = place + ENTRY.size, header[10:13]
        place = start + name + extra + comment
        if header[0] != IS_ENTRY or place > len(block):
            raise _cut_off()
        if comment or header[13]:
            raise _unclear("a record has a comment or is on another disk")
        if header[14] or header[15] & DOS_ATTRIBUTES:
            raise _unclear("a record is marked as a folder or as something else that is not a file")
        yield _entry(header, block[start : start + name], block[start + name : place])
    if place != len(block):
        raise _unclear("its directory holds more than its records")


def _entry(header: Sequence[int], name: bytes, extra: bytes) -> _Entry:
    flags, method, crc32, packed, unpacked, offset = header[3], header[4], *header[7:10], header[16]
    if method or flags & ENCRYPTED:
        raise NotPlain("is a compressed or encrypted archive, which torch.save never writes")
    if flags & ~(DESCRIBED | UTF8):
        raise _unclear("a record has unknown flags")
    unpacked, packed, offset = _widened((unpacked, packed, offset), extra)
    if packed != unpacked:
        raise _unclear("a record has two sizes")
    return _Entry(name, flags, crc32, packed, offset)


def _widened(numbers: Sequence[int], extra: bytes) -> list[int]:
    """Return numbers of 32 bits, those that are all ones replaced by the next one of the ZIP64 field."""
    large = dict(_extra_fields(extra)).get(ZIP64, b"")
    if len(large) != 8 * sum(number == ONES_32 for number in numbers):
        raise _unclear("a record has two sizes")
    rest = iter(struct.unpack(f"<{len(large) // 8}Q", large))
    return [next(rest) if number == ONES_32 else number for number in numbers]


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and content of each field that follows a name; one of them could give the record another name."""
    seen: set[int] = set()
    while extra:
        kind, length = struct.unpack("<HH", extra[:4].ljust(4, b"\0"))
        if len(extra) < 4 + length or kind not in {ZIP64, PADDING} - seen:
            raise _unclear("a record has fields that torch.save never writes")
        yield kind, extra[4 : 4 + length]
        seen.add(kind)
        extra = extra[4 + length :]


def _names(entries: Sequence[_Entry]) -> list[str]:
    """Return the records' names, which differ in more than the case of their letters."""
    names = [_name(entry) for entry in entries]
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other is not name:
            raise Damaged(f"holds two records of one name ({other:.60} and {name:.60})")
    return names


def _name(entry: _Entry) -> str:
    """Return a name of parts with `/` between them, none of which leads elsewhere."""
    try:
        name = entry.name.decode("utf-8" if entry.flags & UTF8 else "ascii")
    except UnicodeDecodeError:
        raise _unclear("a name in it can be read in two ways") from None
    parts = name.split("/")
    if len(name) > LONGEST_NAME_BYTES or not name.isprintable() or "\\" in name or {"", ".", ".."} & set(parts):
        raise Damaged(f"holds a record with a name that torch.save never writes ({name[:60]!r})")
    return name


def _located(file: BinaryIO, entries: Sequence[_Entry], end: int) -> list[Record]:
    """Return where the records are; from the start of the file to the directory, there is nothing else."""
    order = sorted(range(len(entries)), key=lambda index: entries[index].offset)
    ends = [*(entries[index].offset for index in order[1:]), end]
    if end and (not entries or entries[order[0]].offset):
        raise _unclear("something stands before its first record")
    found = {index: _record(file, entries[index], end) for index, end in zip(order, ends, strict=bool(order))}
    return [found[index] for index in range(len(entries))]


def _record(file: BinaryIO, entry: _Entry, end: int) -> Record:
    """Check that what surrounds a record, up to `end`, says the same as the directory."""
    header = LOCAL.unpack(_read(file, entry.offset, LOCAL.size))
    name_and_extra = _read(file, entry.offset + LOCAL.size, header[9] + header[10])
    name, extra = name_and_extra[: header[9]], name_and_extra[header[9] :]
    start = entry.offset + LOCAL.size + len(name_and_extra)
    if (header[0], header[2], header[3], name) != (IS_LOCAL, entry.flags, 0, entry.name):
        raise _unclear("a record is not what the directory says")
    _check_sizes(header[6:9], extra, entry)
    _check_descriptor(file, entry, start + entry.size_bytes, end)
    return Record(start, entry.size_bytes, entry.crc32)


def _check_sizes(header: Sequence[int], extra: bytes, entry: _Entry) -> None:
    """Check the checksum and the sizes in front of a record: zeros if they follow it."""
    crc32, packed, unpacked = header
    if entry.flags & DESCRIBED:  # in a large file, PyTorch writes there what it already knows: size and offset
        large = dict(_extra_fields(extra)).get(ZIP64, b"")
        numbers = {value for (value,) in struct.iter_unpack("<Q", large[: len(large) // 8 * 8])}
        agrees = (crc32, packed, unpacked) == (0, 0, 0) and numbers <= {0, entry.size_bytes, entry.offset}
    else:
        size = entry.size_bytes
        agrees = (crc32, *_widened((unpacked, packed), extra)) == (entry.crc32, size, size)
    if not agrees:
        raise _unclear("a record is not what the directory says")


def _check_descriptor(file: BinaryIO, entry: _Entry, start: int, end: int) -> None:
    """Check that nothing but a record's descriptor, if it has one, is between the record and the next one."""
    expected = b""
    if entry.flags & DESCRIBED:
        sizes = SIZES if end - start == 8 + SIZES.size and entry.size_bytes <= ONES_32 else SIZES_64
        expected = struct.pack("<II", IS_DESCRIPTOR, entry.crc32) + sizes.pack(entry.size_bytes, entry.size_bytes)
    if end - start != len(expected) or _read(file, start, len(expected)) != expected:
        raise _unclear("something stands between two records")


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    if start < 0:
        raise _cut_off()
    file.seek(start)
    block = file.read(count)
    if len(block) < count:
        raise _cut_off()
    return block


def _cut_off() -> Damaged:
    return Damaged("is truncated or damaged")


def _unclear(reason: str) -> Damaged:
    return Damaged(f"is not laid out as torch.save does it ({reason})")

"""Reading untrusted files: only regular files, opened without blocking and read up to a limit.

A folder from elsewhere may contain a named pipe, on which `open` blocks forever, or a link to a device, which never
ends. The check is made on the open file, not on its path, which could name another file a moment later. A read stops at
the limit even if the file grows in the meantime.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from unrolled.errors import UserError

BLOCK_BYTES = 2**18
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | Path, largest_bytes: int) -> BinaryIO:
    """Open a regular file for reading bytes; symbolic links are followed.

    Args:
        path: the file.
        largest_bytes: larger files are refused.

    Raises:
        FileNotFoundError: the file does not exist; the caller knows what that means.
        UserError: it is a directory, a pipe or a device, is too large, or cannot be opened.
    """
    try:
        handle = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise UserError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{path} is a {_kind(about.st_mode)}, not a regular file; put the file itself there.")
        if about.st_size > largest_bytes:
            raise _too_large(path, largest_bytes)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: str | Path, largest_bytes: int) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        FileNotFoundError: the file does not exist.
        UserError: it is not a regular file, holds more than `largest_bytes`, or cannot be read.
    """
    with open_regular(path, largest_bytes) as file:
        try:
            content = b"".join(_blocks(file, largest_bytes + 1))
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror or error}).") from None
    if len(content) > largest_bytes:  # it grew after it was opened, or its file system does not report sizes
        raise _too_large(path, largest_bytes)
    return content


def _blocks(file: BinaryIO, most_bytes: int) -> Iterator[bytes]:
    """Yield the content up to a limit; one read of that size would allocate all of it even for a tiny file."""
    while most_bytes and (block := file.read(min(most_bytes, BLOCK_BYTES))):
        most_bytes -= len(block)
        yield block


def _too_large(path: str | Path, largest_bytes: int) -> UserError:
    size = f"{largest_bytes // 2**20:,} MiB" if largest_bytes >= 2**20 else f"{largest_bytes:,} bytes"
    return UserError(f"{path} is larger than {size}, too large to be what it should be.")


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "directory"),
        (stat.S_ISFIFO, "named pipe"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
        (stat.S_ISSOCK, "socket"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "special file")

"""Decoding bytes to text in blocks: UTF-8 with or without BOM; all line endings become line feeds.

Input that is not text is refused with advice: UTF-16, binary files, and invalid bytes unless they are to be replaced,
in which case they are counted. Characters and CR LF pairs that span two blocks are kept intact.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from unrolled.errors import UserError

BLOCK_BYTES = 2**20


@dataclass
class Tally:
    """Counts of what was found, updated while text is read."""

    replaced: int = 0


def decoded(stream: BinaryIO, name: str, encoding_errors: str, tally: Tally) -> Iterator[str]:
    """Yield the text of `stream` in non-empty chunks of at most about a million characters.

    Args:
        name: the stream's name in messages.
        encoding_errors: "strict" or "replace".
        tally: its `replaced` is increased by the number of U+FFFD that replace undecodable bytes.

    Raises:
        UserError: the stream is not UTF-8 text, or cannot be read.
    """
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    at_start = True
    for text in _utf8(_blocks(stream, name), name, encoding_errors, tally):
        chunk = newlines.decode(text.removeprefix("\ufeff") if at_start else text)
        at_start = at_start and not text
        if chunk:
            yield chunk
    if last := newlines.decode("", final=True):
        yield last


def _blocks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield blocks of bytes; the first one is checked for signs that the stream is not text."""
    try:
        block = stream.read(BLOCK_BYTES)
        while 0 < len(block) < 4 and (more := stream.read(BLOCK_BYTES)):  # a pipe may return one byte at a time
            block += more
        _check_text(block, name)
        while block:
            yield block
            block = stream.read(BLOCK_BYTES)
    except OSError as problem:
        raise UserError(f"{name} cannot be read: {problem.strerror or problem}.") from None


def _check_text(block: bytes, name: str) -> None:
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        raise UserError(
            f"{name} is UTF-16 or UTF-32, not UTF-8; convert it first, "
            "for example: iconv -f UTF-16 -t UTF-8 FILE > NEWFILE."
        )
    if (offset := block.find(b"\0")) >= 0:
        raise UserError(f"{name} looks binary (a zero byte at offset {offset}); give a plain text file.")


def _utf8(blocks: Iterator[bytes], name: str, encoding_errors: str, tally: Tally) -> Iterator[str]:
    """Decode blocks; the bytes of a character that is split by the end of a block wait for the next one."""
    waiting, offset = b"", 0
    for block in blocks:
        text, waiting, offset = _decode(waiting + block, offset, False, name, encoding_errors, tally)
        yield text
    yield _decode(waiting, offset, True, name, encoding_errors, tally)[0]


def _decode(
    data: bytes, offset: int, final: bool, name: str, encoding_errors: str, tally: Tally
) -> tuple[str, bytes, int]:
    """Return the text of `data`, which starts at byte `offset`; the undecoded rest; and its offset."""
    try:
        text, used = codecs.utf_8_decode(data, encoding_errors, final)
    except UnicodeDecodeError as problem:
        raise UserError(
            f"{name} is not UTF-8: byte 0x{data[problem.start]:02x} at offset {offset + problem.start} cannot be "
            "decoded; convert the file to UTF-8, or use --encoding-errors replace."
        ) from None
    if encoding_errors == "replace":
        # The bytes EF BF BD always encode a genuine U+FFFD, as EF always starts a character.
        tally.replaced += text.count("\ufffd") - data[:used].count(b"\xef\xbf\xbd")
    return text, data[used:], offset + used

"""A text on disk while it is being prepared: written once as it arrives, then read as often as needed.

The file has no name (it vanishes with the process, however that ends), so that a text of any size, standard input
included, needs bounded memory: characters are counted and hashed on the way in.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK_CHARACTERS = 2**18


class Spool:
    """The text of some sources, clean, as UTF-8; a context manager that removes it.

    Attributes:
        characters: how many there are.
        line_ends: how many of them are newlines.
        sha256: of the UTF-8 bytes, in hexadecimal.
    """

    def __init__(self, chunks: Iterable[str], folder: Path) -> None:
        file = tempfile.TemporaryFile("w+b", dir=folder, prefix=".spool-")  # noqa: SIM115 (closed by __exit__)
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        try:
            self._fill(chunks)
        except BaseException:
            self._text.detach()
            file.close()
            raise

    def _fill(self, chunks: Iterable[str]) -> None:
        digest = hashlib.sha256()
        self.characters = self.line_ends = 0
        for chunk in chunks:
            encoded = chunk.encode("utf-8")
            digest.update(encoded)
            self._text.buffer.write(encoded)
            self.characters += len(chunk)
            self.line_ends += chunk.count("\n")
        self._text.buffer.flush()
        self.sha256 = digest.hexdigest()

    def chunks(self, start: int, stop: int) -> Iterator[str]:
        """Yield the characters `start` to `stop` - 1 in chunks of bounded size; one reader at a time."""
        self._text.seek(0)
        self._skip(start)
        left = stop - start
        while left and (chunk := self._text.read(min(left, CHUNK_CHARACTERS))):
            left -= len(chunk)
            yield chunk

    def lines(self) -> Iterator[str]:
        """Yield the lines, each with the newline that ends it; one reader at a time."""
        self._text.seek(0)
        while line := self._text.readline():
            yield line

    def _skip(self, characters: int) -> None:
        while characters and (chunk := self._text.read(min(characters, CHUNK_CHARACTERS))):
            characters -= len(chunk)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._text.close()

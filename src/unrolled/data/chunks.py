"""Text in chunks of a size that suits encoding: cut at line ends only, and neither tiny nor huge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

CHUNK_CHARACTERS = 2**18


def whole_lines(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the same text, cut at line ends only; a line, however long, is held in memory."""
    waiting: list[str] = []
    for chunk in chunks:
        whole, newline, rest = chunk.rpartition("\n")
        if newline:
            yield "".join([*waiting, whole, newline])
            waiting.clear()
        waiting.append(rest)
    if last := "".join(waiting):
        yield last


def gathered(chunks: Iterable[str], characters: int = CHUNK_CHARACTERS) -> Iterator[str]:
    """Yield the same text in fewer chunks, of about `characters` each, cut only where the given chunks end."""
    held: list[str] = []
    length = 0
    for chunk in chunks:
        held.append(chunk)
        length += len(chunk)
        if length >= characters:
            yield "".join(held)
            held, length = [], 0
    if held:
        yield "".join(held)

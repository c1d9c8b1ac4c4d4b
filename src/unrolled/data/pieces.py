"""Text in pieces of a size that suits encoding: cut at line ends only, and neither tiny nor huge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

PIECE_CHARACTERS = 2**18


def whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the same text, cut at line ends only; a line, however long, is held in memory."""
    waiting: list[str] = []
    for piece in pieces:
        whole, newline, rest = piece.rpartition("\n")
        if newline:
            yield "".join([*waiting, whole, newline])
            waiting.clear()
        waiting.append(rest)
    if last := "".join(waiting):
        yield last


def gathered(pieces: Iterable[str], characters: int = PIECE_CHARACTERS) -> Iterator[str]:
    """Yield the same text in fewer pieces, of about so many characters, cut where the pieces were."""
    held: list[str] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= characters:
            yield "".join(held)
            held, length = [], 0
    if held:
        yield "".join(held)

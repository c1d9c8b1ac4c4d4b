"""Text to token ids on disk, a piece at a time, and the memory-mapped result.

A token sequence is a read-only array (N,) of the smallest unsigned integers that hold the vocabulary, little-endian,
backed by a file; what is counted on the way (characters, UTF-8 bytes, unknown tokens) is what measures per character
and byte divide by.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unrolled.data.cache import disk_full_is_plain
from unrolled.text.characters import smallest_dtype
from unrolled.text.sources import read_sources
from unrolled.text.tokenizer import Tokenizer

MOST_UNKNOWN_LISTED = 40


@dataclass(frozen=True)
class TokenSequence:
    """A text as tokens.

    Attributes:
        ids: (N,) little-endian unsigned integers, read-only, on disk.
        characters, utf8_bytes: size of the text that the tokens stand for.
        unknown_tokens: how many of the tokens are unknown.
        unknown: the first distinct characters that were unknown.
        notes: plain sentences about what was read.
    """

    ids: npt.NDArray[np.unsignedinteger]
    characters: int
    utf8_bytes: int
    unknown_tokens: int
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Counts:
    """What was counted while a text was encoded; the names are those of `TokenSequence`."""

    tokens: int
    characters: int
    utf8_bytes: int
    unknown_tokens: int
    unknown: tuple[str, ...]


def encode_text(
    tokenizer: Tokenizer,
    specs: Sequence[str],
    encoding_errors: str = "strict",
    *,
    stdin: BinaryIO | None = None,
    folder: Path | None = None,
) -> TokenSequence:
    """Encode a text that stands alone, for measuring a model on it; memory stays bounded.

    Args:
        specs: sources as in `unrolled.text.sources`.
        folder: where the nameless file with the ids goes; the system's temporary folder by default.

    Raises:
        UserError: a source is missing, empty or no text; the disk is full.
    """
    source = read_sources(specs, encoding_errors, stdin)
    with disk_full_is_plain(folder), tempfile.TemporaryFile("w+b", dir=folder) as file:
        counts = encode_pieces(tokenizer, source, file)
        ids = np.memmap(file, dtype=ids_dtype(tokenizer), mode="r", shape=(counts.tokens,))
    notes = (*source.report.notes, *unknown_notes(counts, "The text"))
    return TokenSequence(ids, counts.characters, counts.utf8_bytes, counts.unknown_tokens, counts.unknown, notes)


def encode_pieces(tokenizer: Tokenizer, pieces: Iterable[str], file: BinaryIO) -> Counts:
    """Write the ids of `pieces` to `file` and count. The tokenizer must not join characters of two pieces."""
    tokens = characters = utf8_bytes = unknown_tokens = 0
    unknown: dict[str, None] = {}
    for piece in pieces:
        ids = tokenizer.encode(piece).astype(ids_dtype(tokenizer), copy=False)
        file.write(ids.data)
        tokens += len(ids)
        characters += len(piece)
        utf8_bytes += len(piece.encode("utf-8"))
        if tokenizer.unknown_id is not None and (found := int(np.count_nonzero(ids == tokenizer.unknown_id))):
            unknown_tokens += found
            if len(unknown) < MOST_UNKNOWN_LISTED:
                unknown |= dict.fromkeys(tokenizer.unknown_in(piece))
    file.flush()
    return Counts(tokens, characters, utf8_bytes, unknown_tokens, tuple(unknown)[:MOST_UNKNOWN_LISTED])


def ids_dtype(tokenizer: Tokenizer) -> np.dtype[np.unsignedinteger]:
    """Return the type of ids on disk."""
    return smallest_dtype(tokenizer.vocabulary_size)


def unknown_notes(counts: Counts, what: str) -> list[str]:
    """Return a note that lists the unknown characters, or none."""
    if not counts.unknown_tokens:
        return []
    shown = " ".join(_named(character) for character in counts.unknown[:10])
    more = " ..." if len(counts.unknown) > 10 else ""
    return [f"{what} has {counts.unknown_tokens:,} characters that the vocabulary does not know: {shown}{more}"]


def _named(character: str) -> str:
    code_point = f"U+{ord(character):04X}" if len(character) == 1 else ""
    if not code_point:
        return repr(character)
    return f"{character} ({code_point})" if character.isprintable() and character != " " else code_point

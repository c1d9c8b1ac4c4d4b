"""Text to token ids on disk, a chunk at a time.

A token sequence is a read-only array (N,) of the smallest unsigned integers that hold the vocabulary, little-endian,
backed by a file; what is counted on the way (characters, UTF-8 bytes, unknown tokens) is what measures per character
and byte divide by.

A text that is only measured goes into a temporary file that never has a name: it is mapped into memory, which is safe
because no other program can open it to shorten it. The ids of a cached corpus are in files with names, and are read
instead (`stored_ids`).
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unrolled.config import DataSettings
from unrolled.data.cache import disk_full_is_plain
from unrolled.data.chunks import gathered, whole_lines
from unrolled.data.stored_ids import StoredIds
from unrolled.errors import UserError
from unrolled.sources import RecordSource, TextSource, read_records, read_sources
from unrolled.text import Tokenizer
from unrolled.text.characters import smallest_dtype

MOST_UNKNOWN_LISTED = 40


@dataclass(frozen=True)
class TokenSequence:
    """A text as tokens.

    Attributes:
        ids: (N,) little-endian unsigned integers, read-only, on disk: an array, or what slices are read of.
        characters, utf8_bytes: size of the text that the tokens represent.
        unknown_tokens: how many of the tokens are unknown.
        unknown: the first distinct characters or words that were unknown.
        notes: plain sentences about what was read.
        content_sha256: of the whole text that this is a part of; empty where that is not known.
    """

    ids: npt.NDArray[np.unsignedinteger] | StoredIds
    characters: int
    utf8_bytes: int
    unknown_tokens: int
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    content_sha256: str = ""

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
    settings: DataSettings | None = None,
    stdin: BinaryIO | None = None,
    folder: Path | None = None,
) -> TokenSequence:
    """Encode a separate text to measure a model on; memory stays bounded.

    Args:
        specs: sources as in `unrolled.sources.sources`.
        encoding_errors: `strict`, or `replace` for bytes that are not UTF-8.
        settings: those that the model was trained with: whether the text is records, and where a speaker is found.
        folder: where the nameless file with the ids goes; the system's temporary folder by default.

    Raises:
        UserError: a source is missing, empty or no text; the disk is full.
    """
    base = DataSettings() if settings is None else settings
    settings = base.model_copy(update={"encoding_errors": encoding_errors})
    source = source_of(specs, settings, stdin)
    with disk_full_is_plain(folder):
        chunks = source if tokenizer.kind == "character" else gathered(whole_lines(source))
        text = encoded_on_disk(tokenizer, chunks, settings, (), folder)
    return dataclasses.replace(text, notes=(*source.report.notes, *text.notes))


def source_of(specs: Sequence[str], settings: DataSettings, stdin: BinaryIO | None = None) -> TextSource | RecordSource:
    """Return the text of the sources, or their records where the settings split those."""
    read = read_records if settings.split == "records" else read_sources
    return read(specs, settings.encoding_errors, stdin, settings.speaker_column)


def encoded_on_disk(
    tokenizer: Tokenizer,
    chunks: Iterable[str],
    settings: DataSettings,
    notes: Sequence[str],
    folder: Path | None = None,
    content_sha256: str = "",
) -> TokenSequence:
    """Encode chunks of a text into a nameless file; see `encode_chunks` and `TokenSequence`.

    Raises:
        UserError: the text gives no tokens.
    """
    with tempfile.TemporaryFile("w+b", dir=folder) as file:
        counts = encode_chunks(tokenizer, chunks, file, of_records=settings.split == "records")
        if not counts.tokens:
            raise UserError("The text holds no word of [a-z0-9'], so there is nothing to measure.")
        # the map keeps the nameless file; nobody else can shorten it
        ids = np.memmap(file, dtype=ids_dtype(tokenizer), mode="r", shape=(counts.tokens,))
    notes = (*notes, *unknown_notes(counts, "The text", tokenizer.kind))
    return TokenSequence(
        ids, counts.characters, counts.utf8_bytes, counts.unknown_tokens, counts.unknown, notes, content_sha256
    )


def encode_chunks(tokenizer: Tokenizer, chunks: Iterable[str], file: BinaryIO, of_records: bool = False) -> Counts:
    """Write the ids of `chunks` to `file` and count.

    Args:
        chunks: cut at line ends, unless the tokenizer is one of characters.
        of_records: each line is a record, and ends in the end of one.
    """
    tokens = characters = utf8_bytes = unknown_tokens = 0
    unknown: dict[str, None] = {}
    encode = tokenizer.encode_lines if of_records else tokenizer.encode
    for chunk in chunks:
        ids = encode(chunk).astype(ids_dtype(tokenizer), copy=False)
        file.write(ids.data)
        tokens += len(ids)
        characters += len(chunk)
        utf8_bytes += len(chunk.encode("utf-8"))
        if tokenizer.unknown_id is not None and (found := int(np.count_nonzero(ids == tokenizer.unknown_id))):
            unknown_tokens += found
            if len(unknown) < MOST_UNKNOWN_LISTED:
                unknown |= dict.fromkeys(tokenizer.unknown_in(chunk))
    file.flush()
    return Counts(tokens, characters, utf8_bytes, unknown_tokens, tuple(unknown)[:MOST_UNKNOWN_LISTED])


def ids_dtype(tokenizer: Tokenizer) -> np.dtype[np.unsignedinteger]:
    """Return the type of ids on disk."""
    return smallest_dtype(tokenizer.vocabulary_size)


def unknown_notes(counts: Counts, what: str, kind: str) -> list[str]:
    """Return a note that lists the unknown characters or words, or none."""
    if not counts.unknown_tokens:
        return []
    more = " ..." if len(counts.unknown) > 10 else ""
    if kind == "word":
        share = counts.unknown_tokens / counts.tokens
        return [
            f"{what} has {counts.unknown_tokens:,} words ({share:.1%} of its tokens) that the vocabulary does not "
            f"know: {' '.join(counts.unknown[:10])}{more}; each counts as <unk>, whatever it was, which makes "
            "perplexity and bits per character look better than they are."
        ]
    shown = " ".join(_named(character) for character in counts.unknown[:10])
    return [f"{what} has {counts.unknown_tokens:,} characters that the vocabulary does not know: {shown}{more}"]


def _named(character: str) -> str:
    code_point = f"U+{ord(character):04X}" if len(character) == 1 else ""
    if not code_point:
        return repr(character)
    return f"{character} ({code_point})" if character.isprintable() and character != " " else code_point

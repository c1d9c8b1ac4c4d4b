"""What of a text trains, what validates, and what is kept for a test.

    position    the end of the text validates; for words and subwords the border moves to the end of a line
    records     each record draws a number in [0, 1) from a seeded generator; in the order of these numbers the first
                ones validate, the next ones test, and the others train, each part in the order of the text

Which records go where depends on their number, the seed and the fractions, and on nothing else.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from unrolled.config import DataSettings
from unrolled.data.cache import disk_full_is_plain
from unrolled.data.chunks import gathered, whole_lines
from unrolled.data.encoding import TokenSequence, encoded_on_disk, source_of
from unrolled.data.spool import Spool
from unrolled.errors import UserError
from unrolled.text import Tokenizer

SPLITS = ("train", "valid", "test")
FEWEST_CHARACTERS_TO_SPLIT = 40
FEWEST_RECORDS_TO_SPLIT = 10
FEWEST_CHARACTERS = 2  # one to read, one to predict


class Part(Protocol):
    """Some of a text, to be read as often as needed."""

    def chunks(self) -> Iterator[str]: ...


@dataclass(frozen=True)
class Stretch:
    """Characters `start` to `stop` - 1 of a spool, `times` over."""

    spool: Spool
    start: int
    stop: int
    times: int = 1

    def chunks(self) -> Iterator[str]:
        for _ in range(self.times):
            yield from self.spool.chunks(self.start, self.stop)


@dataclass(frozen=True)
class WholeLines:
    """Another part in chunks that are cut at line ends only; a line is held in memory."""

    part: Part

    def chunks(self) -> Iterator[str]:
        return whole_lines(self.part.chunks())


@dataclass(frozen=True)
class Records:
    """The records of a spool that are marked in `chosen` (N,), or all of them; chunks are cut at their ends."""

    spool: Spool
    chosen: npt.NDArray[np.bool_] | None = None

    def chunks(self) -> Iterator[str]:
        return gathered(self._lines())

    def _lines(self) -> Iterator[str]:
        lines = self.spool.lines()
        return lines if self.chosen is None else itertools.compress(lines, self.chosen)


@dataclass(frozen=True)
class Split:
    """The parts of a text, and plain notes about how it was split."""

    train: Part
    valid: Part
    test: Part | None
    notes: tuple[str, ...] = ()

    def parts(self) -> dict[str, Part]:
        """Return those that there are, by name."""
        named = {"train": self.train, "valid": self.valid, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


def split_text(text: Spool, valid_text: Spool | None, settings: DataSettings, kind: str) -> Split:
    """Split a text by the settings.

    Args:
        text: the spooled text, one record a line where records are split.
        valid_text: validates as a whole, where it is given, and all of `text` trains.
        settings: how to split.
        kind: of the tokenizer.
    """
    if settings.split == "records":
        return _split_records(text, valid_text, settings)
    split = _split_position(text, valid_text, settings.valid_fraction, at_line_ends=kind != "character")
    if kind == "character":
        return split
    return dataclasses.replace(split, train=WholeLines(split.train), valid=WholeLines(split.valid))


def draw_records(records: int, valid_fraction: float, test_fraction: float, seed: int) -> npt.NDArray[np.uint8]:
    """Return for each record (N,) the number of its split in `SPLITS`.

    The shares are rounded; at least one record validates and one trains, and one tests unless its fraction is 0.
    """
    # Python promises the same numbers in every version; reproducible sampling, not secrecy.
    generator = random.Random(seed)  # nosec B311
    order = np.argsort(np.array([generator.random() for _ in range(records)]), kind="stable")
    valid = max(1, round(records * valid_fraction))
    test = max(1, round(records * test_fraction)) if test_fraction else 0
    valid = min(valid, records - test - 1)
    where = np.zeros(records, dtype=np.uint8)
    where[order[:valid]] = SPLITS.index("valid")
    where[order[valid : valid + test]] = SPLITS.index("test")
    return where


def encode_split(
    tokenizer: Tokenizer,
    specs: Sequence[str],
    settings: DataSettings,
    split: str,
    *,
    stdin: BinaryIO | None = None,
    folder: Path | None = None,
) -> TokenSequence:
    """Encode one part of a text, as training with these settings would split it.

    Args:
        specs: sources as in `unrolled.sources.sources`.
        split: train, valid or test.
        folder: where nameless files go; the system's temporary folder by default.

    Raises:
        UserError: a source is missing, empty or no text, or there is no such part; the disk is full.
        ValueError: `split` is not the name of a part.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    source = source_of(specs, settings, stdin)
    spools = Path(tempfile.gettempdir()) if folder is None else folder
    with disk_full_is_plain(folder), Spool(source, spools) as text:
        found = split_text(text, None, settings, tokenizer.kind)
        part = found.parts().get(split)
        if part is None:
            raise UserError(f"This text has no {split} part: {_why_no_test(settings)}.")
        notes = (*source.report.notes, *found.notes)
        return encoded_on_disk(tokenizer, part.chunks(), settings, notes, folder, text.sha256)


def _why_no_test(settings: DataSettings) -> str:
    if settings.split == "position":
        return "it was split by position, into training and validation text only"
    if settings.test_fraction == 0:
        return "data.test_fraction is 0"
    return "it has too few records"


def _split_records(text: Spool, valid_text: Spool | None, settings: DataSettings) -> Split:
    if valid_text is not None:
        return Split(Records(text), Records(valid_text), None)
    if text.line_ends < FEWEST_RECORDS_TO_SPLIT:
        count = "1 record" if text.line_ends == 1 else f"{text.line_ends} records"
        note = f"The text has only {count}, too few to keep some for validation; the same text validates."
        return Split(Records(text), Records(text), None, (note,))
    where = draw_records(text.line_ends, settings.valid_fraction, settings.test_fraction, settings.split_seed)
    train, valid, test = (Records(text, where == number) for number in range(len(SPLITS)))
    counts = np.bincount(where, minlength=len(SPLITS))
    note = (
        f"{text.line_ends:,} records: {counts[0]:,} to learn from, {counts[1]:,} to validate on, {counts[2]:,} to test."
    )
    return Split(train, valid, test if counts[2] else None, (note,))


def _split_position(text: Spool, valid_text: Spool | None, valid_fraction: float, at_line_ends: bool) -> Split:
    """Return two parts, each of at least two characters."""
    whole, notes = _whole(text, "text")
    if valid_text is not None:
        valid, valid_notes = _whole(valid_text, "validation text")
        return Split(whole, valid, None, (*notes, *valid_notes))
    if text.characters < FEWEST_CHARACTERS_TO_SPLIT:
        size = "1 character" if text.characters == 1 else f"{text.characters} characters"
        note = f"The text has only {size}, too few to keep some for validation; the same text validates."
        return Split(whole, whole, None, (*notes, note))
    kept = round(text.characters * valid_fraction)
    kept = min(max(kept, FEWEST_CHARACTERS), text.characters - FEWEST_CHARACTERS)
    border = text.characters - kept
    if at_line_ends:
        border = _moved(text, border)
    return Split(Stretch(text, 0, border), Stretch(text, border, text.characters), None)


def _whole(text: Spool, what: str) -> tuple[Stretch, list[str]]:
    if text.characters >= FEWEST_CHARACTERS:
        return Stretch(text, 0, text.characters), []
    return Stretch(text, 0, 1, times=FEWEST_CHARACTERS), [f"The {what} is a single character; it is read twice."]


def _moved(text: Spool, border: int) -> int:
    """Return the next place that cuts neither a line nor, where no line ends in the first half, a word."""
    furthest = border + (text.characters - border) // 2
    for ends in ("\n", " \t"):
        found = _next(text.chunks(border, furthest), ends)
        if found is not None:
            return border + found
    return border


def _next(chunks: Iterable[str], ends: str) -> int | None:
    """Return how far the first of the characters `ends` reaches into a text, or None."""
    before = 0
    for chunk in chunks:
        places = [place for end in ends if (place := chunk.find(end)) >= 0]
        if places:
            return before + min(places) + 1
        before += len(chunk)
    return None

"""Reading one column of a CSV file, cell by cell.

The first row names the columns. A column is selected by name or by index from 0; a name takes precedence.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

from unrolled.errors import UserError
from unrolled.sources.speakers import missing_note, tagged

END = "\x00the end"  # appended as a last line; no text contains a zero byte
MAX_FIELD_CHARACTERS = 2**31 - 1
MAX_COLUMNS_LISTED = 20


def column_text(text: Iterable[str], column: str, name: str, notes: list[str], speaker: str = "") -> Iterator[str]:
    """Yield the text of one column with a newline between cells; see `column_cells`."""
    separator = ""
    for cell in column_cells(text, column, name, notes, speaker):
        yield separator + cell
        separator = "\n"


def column_cells(text: Iterable[str], column: str, name: str, notes: list[str], speaker: str = "") -> Iterator[str]:
    """Yield the cells of one column, each preceded by its speaker if `speaker` is given.

    Args:
        text: the file's text in chunks of any size.
        column: a name from the header row, or an index.
        name: the file's name in messages.
        notes: receives a sentence for everything that the user should know about the result.
        speaker: the name or index of the speaker's column; empty: none.

    Raises:
        UserError: the column does not exist, there is no header, or the file is not CSV.
    """
    rows = _rows(text, name)
    header = next(filter(None, rows), None)
    if header is None:
        raise UserError(f"{name} is empty; it needs a header row that names the columns.")
    index = _index_of(column, header, name)
    speaker_index = _index_of(speaker, header, name) if speaker else None
    if column not in header:
        notes.append(f"The first row of {name} was read as column names; column {column} is {header[index]!r}.")
    oddities: Counter[str] = Counter()
    for row in rows:
        _count_oddities(row, len(header), index, oddities)
        if index < len(row):
            said_by = row[speaker_index] if speaker_index is not None and speaker_index < len(row) else ""
            yield row[index] if speaker_index is None else tagged(said_by, row[index], oddities)
        elif not row and len(header) == 1:
            yield ""  # in a file of one column, a blank line is an empty cell
    notes += _notes_on(oddities, column, name) + missing_note(oddities, speaker, name)


def _count_oddities(row: list[str], columns: int, index: int, oddities: Counter[str]) -> None:
    if not row:
        oddities["blank"] += columns > 1
    elif index >= len(row):
        oddities["short"] += 1
    elif len(row) > columns:
        oddities["long"] += 1


def _notes_on(oddities: Counter[str], column: str, name: str) -> list[str]:
    sentences = {
        "short": f"{oddities['short']:,} rows of {name} are too short to contain the column {column!r}.",
        "long": f"{oddities['long']:,} rows of {name} have more cells than the header has names: text that contains a "
        "comma must be quoted, or it ends there.",
        "blank": f"{oddities['blank']:,} blank lines between the rows of {name} are skipped.",
    }
    return [sentence for kind, sentence in sentences.items() if oddities[kind]]


def header_of(text: Iterable[str], name: str) -> list[str]:
    """Return the names in the first row; an empty list if the file is empty."""
    return next(filter(None, _rows(text, name)), [])


def listing(header: list[str]) -> str:
    """Return the column names for a message, shortened if there are many."""
    shown = ", ".join(header[:MAX_COLUMNS_LISTED])
    return shown + (f" and {len(header) - MAX_COLUMNS_LISTED} more" if len(header) > MAX_COLUMNS_LISTED else "")


def _index_of(column: str, header: list[str], name: str) -> int:
    if header.count(column) == 1:
        return header.index(column)
    if header.count(column) > 1:
        indices = " or ".join(str(index) for index, entry in enumerate(header) if entry == column)
        raise UserError(f"{name} has {header.count(column)} columns named {column!r}; give the index, {indices}.")
    if column.isascii() and column.isdigit() and int(column) < len(header):
        return int(column)
    raise UserError(f"{name} has no column {column!r}; its columns are: {listing(header)}.")


def _rows(text: Iterable[str], name: str) -> Iterator[list[str]]:
    """Yield the rows; a blank line gives an empty row."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(itertools.chain(lines_of(text), [END]))
    begins = 1  # the line at which the row begins
    try:
        for row in reader:
            if row and row[-1].endswith(END):
                _check_closed(row, begins, name)
                return
            yield row
            begins = reader.line_num + 1
    except csv.Error as problem:
        raise UserError(f"{name} cannot be read as CSV: line {reader.line_num:,}: {problem}.") from None


def _check_closed(row: list[str], begins: int, name: str) -> None:
    """Refuse an unclosed quote, which would turn the rest of the file into one cell."""
    if row != [END]:
        raise UserError(
            f"{name} cannot be read as CSV: the row that begins at line {begins:,} has a quote that is never closed; "
            "close it there."
        )


def lines_of(text: Iterable[str]) -> Iterator[str]:
    """Split text at line feeds only; `splitlines` would also split at characters within cells."""
    waiting: list[str] = []
    for chunk in text:
        *whole, rest = chunk.split("\n")
        for line in whole:
            yield "".join([*waiting, line, "\n"])
            waiting.clear()
        waiting.append(rest)
    if last := "".join(waiting):
        yield last

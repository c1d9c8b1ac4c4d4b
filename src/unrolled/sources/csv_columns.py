"""One column of a CSV file: a row's cell after the other.

The first row names the columns. A column is given by its name or by its index from 0; a name wins over an index.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

from unrolled.errors import UserError
from unrolled.sources.speakers import missing_note, tagged

END = "\x00the end"  # a line of its own after the last one: no text holds a zero byte
MAX_FIELD_CHARACTERS = 2**31 - 1
MAX_COLUMNS_LISTED = 20


def column_text(text: Iterable[str], column: str, name: str, notes: list[str], speaker: str = "") -> Iterator[str]:
    """Yield the text of one column, a newline between two cells; see `column_cells`."""
    separator = ""
    for cell in column_cells(text, column, name, notes, speaker):
        yield separator + cell
        separator = "\n"


def column_cells(text: Iterable[str], column: str, name: str, notes: list[str], speaker: str = "") -> Iterator[str]:
    """Yield the cells of one column, each after its speaker where one is asked for.

    Args:
        text: the file's text in chunks of any size.
        column: a name from the header row, or an index.
        name: what messages call the file.
        notes: gets a plain sentence for what a reader of the result should know.
        speaker: the column with the speaker, a name or an index; empty: none.

    Raises:
        UserError: no such column, no header, or the file is no CSV.
    """
    rows = _rows(text, name)
    header = next(filter(None, rows), None)
    if header is None:
        raise UserError(f"{name} is empty; there is no header row that names columns.")
    index = _index_of(column, header, name)
    speaker_index = _index_of(speaker, header, name) if speaker else None
    if column not in header:
        notes.append(f"The first row of {name} was taken as names of columns; column {column} is {header[index]!r}.")
    oddities: Counter[str] = Counter()
    for row in rows:
        _count_oddities(row, len(header), index, oddities)
        if index < len(row):
            said_by = row[speaker_index] if speaker_index is not None and speaker_index < len(row) else ""
            yield row[index] if speaker_index is None else tagged(said_by, row[index], oddities)
        elif not row and len(header) == 1:
            yield ""  # an empty cell of the only column is a blank line
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
        "short": f"{oddities['short']:,} rows of {name} are too short to have the column {column!r}.",
        "long": f"{oddities['long']:,} rows of {name} have more cells than the header has names: a comma inside a text "
        "must stand in quotes, or the text ends there.",
        "blank": f"{oddities['blank']:,} blank lines between the rows of {name} are left out.",
    }
    return [sentence for kind, sentence in sentences.items() if oddities[kind]]


def header_of(text: Iterable[str], name: str) -> list[str]:
    """Return the names in the first row; an empty list for an empty file."""
    return next(filter(None, _rows(text, name)), [])


def listing(header: list[str]) -> str:
    """Return the names of the columns for a message, the first ones where they are many."""
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
    """Yield the rows; a blank line is an empty one."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(itertools.chain(lines_of(text), [END]))
    begins = 1  # the row, at this line
    try:
        for row in reader:
            if row and row[-1].endswith(END):
                _check_closed(row, begins, name)
                return
            yield row
            begins = reader.line_num + 1
    except csv.Error as problem:
        raise UserError(f"{name} is not a CSV file that can be read: line {reader.line_num:,}: {problem}.") from None


def _check_closed(row: list[str], begins: int, name: str) -> None:
    """Refuse a quote without its end, which would make one cell of all the rest of the file."""
    if row != [END]:
        raise UserError(
            f"{name} is not a CSV file that can be read: in the row that begins at line {begins:,} a quote is opened "
            "and never closed; close it there."
        )


def lines_of(text: Iterable[str]) -> Iterator[str]:
    """Cut text at line feeds only; `splitlines` would also cut at characters that are part of a cell."""
    waiting: list[str] = []
    for chunk in text:
        *whole, rest = chunk.split("\n")
        for line in whole:
            yield "".join([*waiting, line, "\n"])
            waiting.clear()
        waiting.append(rest)
    if last := "".join(waiting):
        yield last

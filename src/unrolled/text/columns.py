"""One column of a CSV file as text: a row's cell after the other, a newline between them.

The first row names the columns. A column is given by its name or by its index from 0; a name wins over an index.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from unrolled.errors import UserError

LARGEST_FIELD_CHARACTERS = 2**31 - 1
MOST_COLUMNS_LISTED = 20


def column_text(text: Iterable[str], column: str, name: str, notes: list[str]) -> Iterator[str]:
    """Yield the text of one column.

    Args:
        text: the file's text in pieces of any size.
        column: a name from the header row, or an index.
        name: what messages call the file.
        notes: gets a plain sentence for what a reader of the result should know.

    Raises:
        UserError: no such column, no header, or the file is no CSV.
    """
    rows = _rows(text, name)
    header = next(filter(None, rows), None)
    if header is None:
        raise UserError(f"{name} is empty; there is no header row that names columns.")
    index = _index_of(column, header, name)
    if column not in header:
        notes.append(f"The first row of {name} was taken as names of columns; column {column} is {header[index]!r}.")
    separator, short, blank = "", 0, 0
    for row in rows:
        if not row and len(header) == 1:
            row = [""]  # an empty cell of the only column is a blank line
        elif not row:
            blank += 1
            continue
        if index >= len(row):
            short += 1
            continue
        yield separator + row[index]
        separator = "\n"
    if short:
        notes.append(f"{short:,} rows of {name} are too short to have the column {column!r}.")
    if blank:
        notes.append(f"{blank:,} blank lines between the rows of {name} are left out.")


def header_of(text: Iterable[str], name: str) -> list[str]:
    """Return the names in the first row; an empty list for an empty file."""
    return next(filter(None, _rows(text, name)), [])


def listing(header: list[str]) -> str:
    """Return the names of the columns for a message, the first ones where they are many."""
    shown = ", ".join(header[:MOST_COLUMNS_LISTED])
    return shown + (f" and {len(header) - MOST_COLUMNS_LISTED} more" if len(header) > MOST_COLUMNS_LISTED else "")


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
    csv.field_size_limit(LARGEST_FIELD_CHARACTERS)
    reader = csv.reader(_lines(text))
    try:
        yield from reader
    except csv.Error as problem:
        raise UserError(f"{name} is not a CSV file that can be read: line {reader.line_num:,}: {problem}.") from None


def _lines(text: Iterable[str]) -> Iterator[str]:
    """Cut text at line feeds only; `splitlines` would also cut at characters that are part of a cell."""
    waiting: list[str] = []
    for piece in text:
        *whole, rest = piece.split("\n")
        for line in whole:
            yield "".join([*waiting, line, "\n"])
            waiting.clear()
        waiting.append(rest)
    if last := "".join(waiting):
        yield last

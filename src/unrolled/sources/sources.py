"""Sources of text: files, folders, standard input, CSV columns, JSON fields and the stories in the package.

    tale.txt          a file                         posts.csv:body      a column of a CSV file, by name or index
    folder            every .txt file below it       posts.jsonl:body    a field of a JSON Lines file (or .ndjson)
    -                 standard input                 builtin:stories     the stories in the package

The same sources can be read as one text, or as records: one per cell, field or line. Text is read in chunks and may be
larger than memory. Nothing is dropped silently: whatever is skipped is an error or a note.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import BinaryIO

from unrolled.errors import UserError
from unrolled.sources.csv_columns import column_cells, header_of, lines_of, listing
from unrolled.sources.jsonl_fields import ENDINGS as JSON_ENDINGS
from unrolled.sources.jsonl_fields import FieldReader, objects
from unrolled.sources.utf8 import Tally, decoded

BUILTIN_PREFIX = "builtin:"
BUILTIN_FOLDERS = ("stories",)
ENCODING_ERRORS = ("strict", "replace")
TABLE_ENDINGS = (".csv", *JSON_ENDINGS)
MAX_ENTRIES_COMPARED = 10_000


@dataclass(frozen=True)
class SourceReport:
    """What was read: files, characters after normalization, replaced undecodable bytes, and notes for the user."""

    files: int
    characters: int
    replaced: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Input:
    """A stream of bytes; with `must_hold_text`, for an input that the user named, an empty stream is an error."""

    name: str
    open: Callable[[], BinaryIO]
    must_hold_text: bool = True
    column: str | None = None
    ends_with: str = "\n"  # what must precede the next input


class _Source:
    """Several inputs, read one after another; iterate over it once, then read `report`.

    Raises (while iterating):
        UserError: a source is empty, is not text, or cannot be read.
    """

    def __init__(self, inputs: Sequence[_Input], encoding_errors: str, notes: Sequence[str], speaker: str) -> None:
        self._inputs = inputs
        self._encoding_errors = encoding_errors
        self._notes = list(notes)
        self._speaker = speaker
        self._tally = Tally()
        self._characters = 0
        self._chunks = self._read()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        chunk = next(self._chunks)
        self._characters += len(chunk)
        return chunk

    @property
    def report(self) -> SourceReport:
        """What has been read so far."""
        notes = list(self._notes)
        if self._tally.replaced:
            notes.append(f"{self._tally.replaced:,} places that are not UTF-8 were replaced by U+FFFD.")
        return SourceReport(len(self._inputs), self._characters, self._tally.replaced, tuple(notes))

    def _read(self) -> Iterator[str]:
        raise NotImplementedError

    def _text_of(self, source: _Input) -> Iterator[str]:
        with _opened(source) as stream:
            yield from decoded(stream, source.name, self._encoding_errors, self._tally)

    def _cells_of(self, source: _Input, column: str) -> Iterator[str]:
        """Yield the cells of a column or the values of a field, each preceded by its speaker if there is one."""
        text = self._text_of(source)
        if source.name.lower().endswith(JSON_ENDINGS):
            reader = FieldReader(column, self._speaker, source.name, self._encoding_errors, self._tally)
            return reader.values(text, self._notes)
        return column_cells(text, column, source.name, self._notes, self._speaker)

    def _note_empty(self, source: _Input, sentence: str) -> None:
        """Report that a source has no text: an error if the user named it, else a note."""
        if source.must_hold_text:
            raise UserError(f"{sentence}; there is nothing to read.")
        self._notes.append(f"{sentence}.")


class TextSource(_Source):
    """The text of several sources as one.

    Iteration yields non-empty chunks of bounded size. Between two sources, a newline is inserted unless the first ends
    in one; the stories of the package are separated by a blank line.
    """

    def _read(self) -> Iterator[str]:
        end, separator = "", ""
        for source in self._inputs:
            empty = True
            for chunk in filter(None, self._joined(source)):
                if empty and end:
                    yield from _completion(end, separator)
                yield chunk
                empty, end = False, (end + chunk)[-2:]
            if empty:
                self._note_empty(source, f"{source.name} is empty")
            else:
                separator = source.ends_with
        if not end:
            raise UserError(f"{_names(self._inputs)} held no text at all.")

    def _joined(self, source: _Input) -> Iterator[str]:
        if source.column is None:
            yield from self._text_of(source)
            return
        separator = ""
        for cell in self._cells_of(source, source.column):
            yield separator + cell
            separator = "\n"


class RecordSource(_Source):
    """The records of several sources: cells, fields, or lines of plain text.

    Iteration yields one record at a time as a line with its newline. White space around a record is stripped, and
    newlines within it become spaces. Records without text are skipped and counted.
    """

    def _read(self) -> Iterator[str]:
        any_record = False
        for source in self._inputs:
            records = blank = 0
            for record in self._records_of(source):
                if text := record.strip():
                    yield text.replace("\n", " ") + "\n"
                    records += 1
                else:
                    blank += 1
            if blank:
                what = "blank lines" if source.column is None else "records without text"
                self._notes.append(f"{blank:,} {what} of {source.name} are skipped.")
            if not records:
                self._note_empty(source, f"{source.name} has no record with text")
            any_record = any_record or records > 0
        if not any_record:
            raise UserError(f"{_names(self._inputs)} held no text at all.")

    def _records_of(self, source: _Input) -> Iterator[str]:
        if source.column is not None:
            return self._cells_of(source, source.column)
        return (line.removesuffix("\n") for line in lines_of(self._text_of(source)))


def read_sources(
    specs: Sequence[str], encoding_errors: str = "strict", stdin: BinaryIO | None = None, speaker_column: str = ""
) -> TextSource:
    """Find the sources now; read them as one text during iteration.

    Args:
        specs: what to read, see the top of this file. An existing path takes precedence over other interpretations.
        encoding_errors: "strict" or "replace", for bytes that are not UTF-8.
        stdin: the stream that `-` reads; by default the standard input of the process.
        speaker_column: the column or field that is put before each cell as a tag; ignored for plain text.

    Raises:
        UserError: no source is given, or a source does not exist or cannot be used.
    """
    return TextSource(*_found(specs, encoding_errors, stdin), speaker_column)


def read_records(
    specs: Sequence[str], encoding_errors: str = "strict", stdin: BinaryIO | None = None, speaker_column: str = ""
) -> RecordSource:
    """Find the sources now; read their records during iteration. See `read_sources`."""
    return RecordSource(*_found(specs, encoding_errors, stdin), speaker_column)


def _found(
    specs: Sequence[str], encoding_errors: str, stdin: BinaryIO | None
) -> tuple[Sequence[_Input], str, Sequence[str]]:
    if encoding_errors not in ENCODING_ERRORS:
        raise ValueError(f"encoding_errors must be one of {ENCODING_ERRORS}, got {encoding_errors!r}")
    if not specs:
        raise UserError("No text was given; name a file, a folder, or - for standard input.")
    if list(specs).count("-") > 1:
        raise UserError("Standard input (-) can be read only once.")
    notes: list[str] = []
    inputs = [found for spec in specs for found in _inputs_of(str(spec), stdin, notes)]
    return inputs, encoding_errors, notes


def _inputs_of(spec: str, stdin: BinaryIO | None, notes: list[str]) -> list[_Input]:
    if spec == "-":
        return [_Input("standard input", lambda: _standard_input(stdin))]
    if os.path.isdir(spec):
        return _folder(spec, notes)
    if os.path.exists(spec):
        return [_file(spec)]
    if spec.startswith(BUILTIN_PREFIX):
        return _builtin(spec.removeprefix(BUILTIN_PREFIX))
    if (split := _table_split(spec)) is not None:
        return [replace(_path_input(split[0]), column=split[1])]
    raise UserError(_missing(spec))


def _path_input(path: str) -> _Input:
    return _Input(path, lambda: open(path, "rb"))


def _file(path: str) -> _Input:
    if _is_table(path):
        kind, part, names = _parts_of(path)
        first = names[0] if names else part.upper()
        raise UserError(
            f"{path} is a {kind} file; say which {part} to read, for example {path}:{first} "
            f"({part}s: {listing(names)})."
        )
    return _path_input(path)


def _parts_of(path: str) -> tuple[str, str, list[str]]:
    """Return the kind of a table file, what its parts are called, and their names."""
    with _opened(_path_input(path)) as stream:
        text = decoded(stream, path, "replace", Tally())
        if path.lower().endswith(JSON_ENDINGS):
            return "JSON Lines", "field", list(next((entry for _, entry in objects(text, path)), {}))
        return "CSV", "column", [name for name in header_of(text, path) if name]


def _table_split(spec: str) -> tuple[str, str] | None:
    """Split `file.csv:column` at the first colon that follows the path of an existing table file."""
    ends = [index for index, character in enumerate(spec) if character == ":" and _is_table(spec[:index])]
    existing = [end for end in ends if os.path.isfile(spec[:end])]
    if ends and not existing:
        raise UserError(_missing(spec[: ends[0]]))
    return (spec[: existing[0]], spec[existing[0] + 1 :]) if existing else None


def _is_table(path: str) -> bool:
    return path.lower().endswith(TABLE_ENDINGS)


def _builtin(name: str) -> list[_Input]:
    if name not in BUILTIN_FOLDERS:
        raise UserError(f"There is no built-in text named {name!r}; known: {', '.join(BUILTIN_FOLDERS)}.")
    folder = resources.files("unrolled") / name
    entries = sorted((e for e in folder.iterdir() if e.name.endswith(".txt")), key=lambda e: e.name)
    return [
        _Input(f"{BUILTIN_PREFIX}{name}/{entry.name}", lambda entry=entry: entry.open("rb"), ends_with="\n\n")
        for entry in entries
    ]


def _folder(folder: str, notes: list[str]) -> list[_Input]:
    """Return all .txt files below `folder`, sorted by path; other files are noted."""
    texts: list[Path] = []
    others: Counter[str] = Counter()
    for path in _files_below(folder, others):
        if path.suffix.lower() == ".txt":
            texts.append(path)
        else:
            others[path.suffix.lower() or "no extension"] += 1
    left_out = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(8))
    if not texts:
        raise UserError(
            f"The folder {folder} has no .txt files"
            + (f" (only {left_out})" if others else "")
            + "; name the files to read."
        )
    if others:
        notes.append(f"Only the .txt files of {folder} are read; skipped: {left_out}.")
    texts.sort(key=lambda path: path.parts)
    return [replace(_path_input(str(path)), must_hold_text=False) for path in texts]


def _files_below(folder: str, others: Counter[str]) -> Iterator[Path]:
    """Yield the files below `folder`, visiting each folder once despite links; count hidden files in `others`."""
    seen = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        hidden = sum(name.startswith(".") for name in (*folders, *files))
        if hidden:
            others["hidden"] += hidden
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in list(folders):
            real = os.path.realpath(os.path.join(parent, name))
            if real in seen:
                folders.remove(name)
            seen.add(real)
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _refuse(problem: OSError) -> None:
    raise UserError(f"The folder {problem.filename} cannot be read: {problem.strerror}.")


def _standard_input(stdin: BinaryIO | None) -> BinaryIO:
    # A wrapper, so that closing it leaves the caller's stream open.
    return _Borrowed(sys.stdin.buffer if stdin is None else stdin)


class _Borrowed:
    """A stream that its owner closes."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read = stream.read

    def __enter__(self) -> _Borrowed:
        return self

    def __exit__(self, *exception: object) -> None:
        return None


def _opened(source: _Input) -> BinaryIO:
    try:
        return source.open()
    except FileNotFoundError:
        raise UserError(_missing(source.name)) from None
    except OSError as problem:
        raise UserError(f"{source.name} cannot be opened: {problem.strerror or problem}.") from None


def _completion(end: str, separator: str) -> Iterator[str]:
    """Yield the newlines to append to `end` so that it ends in `separator`."""
    lacking = len(separator) - (len(end) - len(end.rstrip("\n")))
    if lacking > 0:
        yield "\n" * lacking


def _missing(path: str) -> str:
    """Return the message for a path that does not exist, with the closest names in its folder."""
    folder, name = os.path.split(path)
    if folder and not os.path.isdir(folder):
        return f"There is no file {path}: the folder {folder} does not exist either."
    try:
        names = sorted(os.listdir(folder or "."))[:MAX_ENTRIES_COMPARED]
    except OSError:
        names = []
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(os.path.join(folder, n) for n in near)}?" if near else "check the path."
    return f"There is no file or folder {path}; {hint}"


def _names(inputs: Sequence[_Input]) -> str:
    shown = ", ".join(source.name for source in inputs[:3])
    return shown if len(inputs) <= 3 else f"{shown} and {len(inputs) - 3} more"

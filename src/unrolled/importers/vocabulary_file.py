"""The words of a vocabulary file, in the order of their ids.

`vocab.pkl` is a pickled list of words; only lists, dicts, texts and integers are ever built from it. JSON (a list,
`{"itos": [...]}` or `{word: id}`), a plain text with a word a line, and what `torch.save` made of such a list do too.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from unrolled.errors import UserError
from unrolled.importers.checkpoint_file import is_archive, open_foreign, read_open_checkpoint
from unrolled.importers.pickles import Rules, read_pickle
from unrolled.importers.refusals import NotPlain
from unrolled.strict_json import JsonProblem, parse_json

SURROGATE = re.compile("[\ud800-\udfff]")
LONGEST_WORD = 1_000
MAX_VOCABULARY_BYTES = 64 * 2**20
MOST_ENTRIES = 4_000_000
NAMES = (
    *("itos", "stoi", "vocab", "idx2word", "word2idx", "index2word", "word2index", "id2word", "word2id"),
    *("idx2char", "char2idx"),
)
SAVE_A_LIST = (
    "where it was made, save a plain list of its words: "
    "pickle.dump([str(word) for word in itos], open('vocab.pkl', 'wb'))"
)


def read_vocabulary(path: Path) -> list[str]:
    """Return the words of a file; position is id.

    Raises:
        UserError: the file is missing, damaged, hostile, or does not hold a list of distinct words.
    """
    with open_foreign(path, MAX_VOCABULARY_BYTES) as file:
        if is_archive(file.read(4)):
            return words_of(read_open_checkpoint(file, path), path)
        file.seek(0)
        data = _read_bounded(file, path)
    readers = {".json": _read_json, ".txt": _read_lines}
    return words_of(readers.get(path.suffix.lower(), _read_pickle)(data, path), path)


def words_of(content: Any, path: Path) -> list[str]:
    """Return the words of what a file held: a list, a numbering, or a dict with one of them under a known name.

    Raises:
        UserError: it holds something else, duplicates, or entries that are not text.
    """
    words = listed_words(content)
    if words is None:
        raise UserError(f"{path} holds no list of words, but {_described(content)}; {SAVE_A_LIST}.")
    _check_words(words, path)
    return words


def listed_words(content: Any) -> list[Any] | None:
    """Return the entries of a list, a numbering, or a dict with one of them under a known name; else none."""
    if type(content) is list:
        return content
    if type(content) is not dict:
        return None
    for name in NAMES:
        inner = content.get(name)
        if type(inner) in (list, dict):
            return inner if type(inner) is list else _numbered(inner)
    return _numbered(content)


def _numbered(numbering: dict[Any, Any]) -> list[Any] | None:
    """Return the words of {word: id} or {id: word} by id; none where the ids are not 0, 1, 2 and so on."""
    pairs = list(numbering.items())
    if pairs and all(type(value) is str for _, value in pairs):
        pairs = [(word, _as_number(index)) for index, word in pairs]
    ids = [index for _, index in pairs]
    if not ids or not all(type(index) is int for index in ids) or sorted(ids) != list(range(len(ids))):
        return None
    return [word for word, _ in sorted(pairs, key=lambda pair: pair[1])]


def _as_number(key: Any) -> Any:
    """Return an id that JSON made a text of as a number again."""
    return int(key) if type(key) is str and re.fullmatch("[0-9]{1,9}", key) else key


def _check_words(words: list[Any], path: Path) -> None:
    if not words:
        raise UserError(f"{path} holds no words; {SAVE_A_LIST}.")
    for index, word in enumerate(words):
        if type(word) is not str:
            raise UserError(f"{path}: entry {index} is {_described(word)}, not a text; {SAVE_A_LIST}.")
        if SURROGATE.search(word):
            raise UserError(f"{path}: entry {index} holds half a character (a lone surrogate); {SAVE_A_LIST}.")
        if len(word) > LONGEST_WORD:
            raise UserError(f"{path}: entry {index} has {len(word):,} characters, and no word has; {SAVE_A_LIST}.")
    if len(set(words)) < len(words):
        twice = Counter(words).most_common(1)[0][0]
        raise UserError(f"{path} holds {twice!r:.60} twice, so an id cannot be told from a word; {SAVE_A_LIST}.")


def _read_bounded(file: BinaryIO, path: Path) -> bytes:
    """Read to the end, or to the bound where the file grows in the meantime."""
    try:
        data = file.read(MAX_VOCABULARY_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from None
    if len(data) > MAX_VOCABULARY_BYTES:
        raise UserError(f"{path} grows while it is read; wait until it is complete.")
    return data


def _read_pickle(data: bytes, path: Path) -> Any:
    try:
        return read_pickle(data, Rules())
    except NotPlain as reason:
        raise UserError(f"{path} {reason}; {SAVE_A_LIST}.") from None


def _read_json(data: bytes, path: Path) -> Any:
    _check_entries(data.count(b","), path)
    try:
        return parse_json(data)
    except JsonProblem as problem:
        raise UserError(f"{path} {problem}; expected is a list of words.") from None


def _read_lines(data: bytes, path: Path) -> list[str]:
    _check_entries(data.count(b"\n"), path)
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; expected is one word per line.") from None
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _check_entries(count: int, path: Path) -> None:
    """Refuse more entries than a vocabulary has before anything is made of them: each takes far more than its byte."""
    if count > MOST_ENTRIES:
        raise UserError(f"{path} has more than {MOST_ENTRIES:,} entries, and no vocabulary has; {SAVE_A_LIST}.")


def _described(value: Any) -> str:
    if value is None:
        return "nothing"
    return {dict: "a dict", list: "a list", str: "a text", int: "a number"}.get(type(value), type(value).__name__)

"""The words of a vocabulary file, in the order of their ids.

`vocab.pkl` is a pickled list of words; only lists, dicts, texts and integers are ever built from it. JSON (a list,
`{"itos": [...]}` or `{word: id}`), a plain text with a word a line, and what `torch.save` made of such a list do too.
"""

from __future__ import annotations

import io
import json
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

from unrolled.errors import UserError
from unrolled.importers.checkpoint_file import is_archive, open_regular, read_checkpoint
from unrolled.importers.pickles import NotPlain, Rules, check_pickle

SURROGATE = re.compile("[\ud800-\udfff]")
LONGEST_WORD = 1_000
MAX_VOCABULARY_BYTES = 64 * 2**20
NAMES = (
    *("itos", "stoi", "vocab", "idx2word", "word2idx", "index2word", "word2index", "id2word", "word2id"),
    *("idx2char", "char2idx"),
)
SAVE_A_LIST = (
    "where it was made, save a plain list of its words: "
    "pickle.dump([str(word) for word in itos], open('vocab.pkl', 'wb'))"
)


class PlainUnpickler(pickle.Unpickler):
    """Builds lists, dicts, texts and numbers; there is no object that it would look up."""

    def find_class(self, module: str, name: str) -> Any:
        raise NotPlain(f"holds a Python object ({module}.{name}), and opening that could run any code")

    def persistent_load(self, pid: Any) -> Any:
        raise NotPlain("refers to something outside the file")


def read_vocabulary(path: Path) -> list[str]:
    """Return the words of a file; position is id.

    Raises:
        UserError: the file is missing, damaged, hostile, or holds no list of distinct words.
    """
    with open_regular(path, MAX_VOCABULARY_BYTES) as file:
        data = file.read()
    readers = {".json": _read_json, ".txt": _read_lines}
    if is_archive(data):
        return words_of(read_checkpoint(path), path)
    return words_of(readers.get(path.suffix.lower(), _read_pickle)(data, path), path)


def words_of(content: Any, path: Path) -> list[str]:
    """Return the words of what a file held: a list, a numbering, or a dict with one of them under a known name.

    Raises:
        UserError: it holds something else, duplicates, or entries that are no text.
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


def _read_pickle(data: bytes, path: Path) -> Any:
    try:
        check_pickle(data, Rules())
        return PlainUnpickler(io.BytesIO(data)).load()
    except NotPlain as reason:
        raise UserError(f"{path} {reason}; {SAVE_A_LIST}.") from None
    except Exception as error:  # instructions in an order that builds nothing can raise anything
        raise UserError(f"{path} is damaged or no pickle at all; {SAVE_A_LIST}.") from error


def _read_json(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise UserError(f"{path} is truncated or no JSON; expected is a list of words.") from None


def _read_lines(data: bytes, path: Path) -> list[str]:
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"{path} is no UTF-8 text; expected is a word a line.") from None
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _described(value: Any) -> str:
    if value is None:
        return "nothing"
    return {dict: "a dict", list: "a list", str: "a text", int: "a number"}.get(type(value), type(value).__name__)

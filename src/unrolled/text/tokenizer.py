"""What every tokenizer can do, and how a saved one is read back.

A tokenizer lives in a folder as `tokenizer.json`, in the format of Hugging Face `tokenizers`, with `vocab.json` beside
it. It is read here as plain JSON and must be, to the last value, what `save` writes for that vocabulary: so loading
needs no trust in the file, and that library only for subwords.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from unrolled.errors import UserError
from unrolled.files import read_regular
from unrolled.strict_json import JsonProblem, parse_json
from unrolled.text.bpe import BytePairTokenizer
from unrolled.text.characters import CharacterTokenizer
from unrolled.text.words import WordTokenizer
from unrolled.text.words_file import tags_in

MAX_FILE_BYTES = 128 * 2**20  # every code point there is, in the wordiest JSON, stays below


class IncrementalDecoder(Protocol):
    """Turns ids into text one at a time, and never gives half a character."""

    def push(self, token_id: int) -> str:
        """Return the text that is certain now."""

    def flush(self) -> str:
        """Return what was held back, when no more ids come."""


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back."""

    kind: str
    unknown_id: int | None  # what unknown text becomes; none where nothing is unknown
    eos_id: int | None  # ends a generated text; none where nothing does

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def start_id(self) -> int:
        """The token that an unconditional text starts from."""

    @property
    def unwritten_id(self) -> int | None:
        """The token that is not written unless asked for, because it stands for unknown text."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical vocabulary, in hexadecimal."""

    def encode(self, text: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids (N,) in the smallest unsigned type."""

    def encode_lines(self, text: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids of records, one a line; at each newline stands the end of a record."""

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text; an unknown character is U+FFFD. ValueError for an id outside the vocabulary."""

    def token_strings(self, ids: npt.ArrayLike) -> list[str]:
        """Return the text of each token; joined, they are `decode(ids)`."""

    def unknown_in(self, text: str) -> list[str]:
        """Return the distinct unknown parts of `text`, in order of appearance."""

    def incremental(self, prompt: str = "") -> IncrementalDecoder:
        """Return a decoder of what goes on after `prompt`, which decides whether a space comes first."""

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `vocab.json`."""


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer that was saved in `folder`.

    Raises:
        UserError: a file is missing, damaged, of another kind, or the two files disagree.
    """
    path = Path(folder) / "tokenizer.json"
    content = _read_json(path)
    itos = _vocabulary(content, path)
    vocabulary_path = path.with_name("vocab.json")
    if vocabulary_path.exists() and _listed_vocabulary(vocabulary_path) != itos:
        raise UserError(f"{vocabulary_path} and {path.name} disagree; both must come from the same training run.")
    try:
        return _tokenizer(content, itos, path)
    except ValueError as problem:
        raise UserError(f"{path} is damaged, or unrolled did not write it: {problem}.") from None


def _vocabulary(content: Any, path: Path) -> list[str]:
    """Return itos from the Hugging Face form of a tokenizer of any kind."""
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("type", ""), str):
        raise UserError(f"{path} is no tokenizer: it has no model. Copy it again from the training run.")
    if model.get("type") not in ("WordLevel", "BPE"):
        raise UserError(_foreign(path))
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict) or not _is_numbering(list(vocabulary.values())):
        raise UserError(f"{path} is damaged: its ids are not 0, 1, 2 and so on. Copy it again from the training run.")
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _tokenizer(content: dict[str, Any], itos: list[str], path: Path) -> Tokenizer:
    """Return the tokenizer whose file has exactly this content; ValueError for a vocabulary of no kind."""
    if content["model"]["type"] == "WordLevel" and _splits_characters(content):
        return CharacterTokenizer(itos)
    tokenizer: WordTokenizer | BytePairTokenizer
    if content["model"]["type"] == "WordLevel":
        tokenizer = WordTokenizer(itos, tags=tags_in(content))
    else:
        tokenizer = BytePairTokenizer(itos, _merges(content["model"]))
    if content != tokenizer.hugging_face():
        raise UserError(_foreign(path))
    return tokenizer


def _merges(model: dict[str, Any]) -> list[list[str]]:
    merges = model.get("merges")
    pairs = merges if isinstance(merges, list) else [None]
    if not all(isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, str) for x in pair) for pair in pairs):
        raise ValueError("its merges are not pairs of texts")
    return pairs


def _foreign(path: Path) -> str:
    return f"{path} holds a tokenizer that unrolled did not write; it reads its own tokenizers."


def _splits_characters(content: dict[str, Any]) -> bool:
    """Tell whether nothing but an isolated split at each code point stands before the vocabulary."""
    split = content.get("pre_tokenizer")
    return (
        isinstance(split, dict)
        and split.get("type") == "Split"
        and split.get("pattern") == {"Regex": r"[\s\S]"}
        and split.get("behavior") == "Isolated"
        and split.get("invert") is False
        and not content.get("normalizer")
        and not content.get("post_processor")
        and not content.get("added_tokens")
    )


def _is_numbering(ids: list[Any]) -> bool:
    return all(type(index) is int for index in ids) and sorted(ids) == list(range(len(ids)))


def _listed_vocabulary(path: Path) -> list[str]:
    content = _read_json(path)
    itos = content.get("itos") if isinstance(content, dict) else None
    if not isinstance(itos, list) or not all(isinstance(entry, str) for entry in itos):
        raise UserError(f'{path} is damaged: it must hold {{"itos": [...]}} with texts. Copy it from the training run.')
    return itos


def _read_json(path: Path) -> Any:
    """Read a JSON file of bounded size; every way to fail becomes one plain sentence."""
    try:
        return parse_json(read_regular(path, MAX_FILE_BYTES))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; is {path.parent} really a run directory?") from None
    except UserError as error:
        raise UserError(f"The vocabulary cannot be read: {error}") from None
    except JsonProblem:
        raise UserError(f"{path} is truncated or is not JSON; copy it again from the training run.") from None

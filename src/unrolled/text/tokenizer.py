"""What every tokenizer can do, and how a saved one is read back.

A tokenizer lives in a folder as `tokenizer.json`, in the format of Hugging Face `tokenizers`, with `vocab.json` beside
it. It is read here as plain JSON and checked strictly, so that loading needs neither that library nor trust in the
file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from unrolled.errors import UserError
from unrolled.text.characters import CharacterTokenizer

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
    unknown_id: int | None
    eos_id: int | None

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def start_id(self) -> int:
        """The token that an unconditional text starts from."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical vocabulary, in hexadecimal."""

    def encode(self, text: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids (N,) in the smallest unsigned type."""

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text; unknown is U+FFFD. ValueError for an id outside the vocabulary."""

    def pieces(self, ids: npt.ArrayLike) -> list[str]:
        """Return the text of each token; joined, they are `decode(ids)`."""

    def unknown_in(self, text: str) -> list[str]:
        """Return the distinct unknown parts of `text`, in order of appearance."""

    def incremental(self) -> IncrementalDecoder: ...

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `vocab.json`."""


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer that was saved in `folder`.

    Raises:
        UserError: a file is missing, damaged, of another kind, or the two files disagree.
    """
    path = Path(folder) / "tokenizer.json"
    itos = _character_vocabulary(_read_json(path), path)
    vocabulary_path = path.with_name("vocab.json")
    if vocabulary_path.exists() and _listed_vocabulary(vocabulary_path) != itos:
        raise UserError(f"{vocabulary_path} and {path.name} disagree; both must come from the same training run.")
    try:
        return CharacterTokenizer(itos)
    except ValueError as problem:
        raise UserError(f"{path} is damaged: {problem}. Copy it again from the training run.") from None


def _character_vocabulary(content: Any, path: Path) -> list[str]:
    """Return itos from the Hugging Face form of a character tokenizer."""
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("type", ""), str):
        raise UserError(f"{path} is no tokenizer: it has no model. Copy it again from the training run.")
    if not _splits_characters(content) or model.get("type") != "WordLevel":
        raise UserError(f"{path} holds a tokenizer that unrolled did not write; it reads its own character tokenizers.")
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict) or not _is_numbering(list(vocabulary.values())):
        raise UserError(f"{path} is damaged: its ids are not 0, 1, 2 and so on. Copy it again from the training run.")
    return sorted(vocabulary, key=vocabulary.__getitem__)


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
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            raw = file.read() if size_bytes <= MAX_FILE_BYTES else b""
    except FileNotFoundError:
        raise UserError(f"{path} is missing; is {path.parent} really a run directory?") from None
    except OSError as problem:
        raise UserError(f"{path} cannot be read: {problem.strerror or problem}.") from None
    if size_bytes > MAX_FILE_BYTES:
        raise UserError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB, too large for a vocabulary.")
    try:
        return json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise UserError(f"{path} is truncated or is not JSON; copy it again from the training run.") from None

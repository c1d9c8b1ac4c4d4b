"""The character tokenizer: one token for each code point.

The vocabulary is `<unk>` at id 0 and then the characters of the training text in the order of their code points.
Encoding looks code points up in one table, 64 K characters at a time, so that it needs one to two bytes a character
beyond the text. A character that is not in the vocabulary, a lone surrogate included, becomes id 0 and is decoded to
U+FFFD. `<unk>` in a text is five ordinary characters.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

UNKNOWN_TOKEN = "<unk>"
UNKNOWN_ID = 0
REPLACEMENT = "\ufffd"
CHUNK_CHARACTERS = 65_536


class CharacterTokenizer:
    """Maps characters to ids and back.

    Args:
        itos: the text of each id; `itos[0]` is `<unk>`, the others are distinct single characters, no surrogates.

    Raises:
        ValueError: `itos` is something else.
    """

    kind = "character"
    unknown_id = UNKNOWN_ID
    eos_id = None

    def __init__(self, itos: Sequence[str]) -> None:
        self.itos = tuple(itos)
        _check(self.itos)
        self.stoi = {character: index for index, character in enumerate(self.itos)}
        code_points = np.array([ord(character) for character in self.itos[1:]], dtype=np.int64)
        # One entry more than the largest code point: what lies beyond is clipped to it, and it says unknown.
        self._ids_of = np.zeros(int(code_points.max(initial=-1)) + 2, dtype=smallest_dtype(len(self.itos)))
        self._ids_of[code_points] = np.arange(1, len(self.itos))
        self._code_points = np.concatenate([[ord(REPLACEMENT)], code_points]).astype("<u4")

    @classmethod
    def from_characters(cls, characters: Iterable[str]) -> CharacterTokenizer:
        """Build the vocabulary of these characters; repeats count once, surrogates stay unknown."""
        return cls([UNKNOWN_TOKEN, *sorted(c for c in set(characters) if not _is_surrogate(c))])

    @property
    def vocabulary_size(self) -> int:
        return len(self.itos)

    @property
    def start_id(self) -> int:
        """The token that an unconditional text starts from: a newline, or unknown where no newline is known."""
        return self.stoi.get("\n", UNKNOWN_ID)

    @property
    def unwritten_id(self) -> int | None:
        """The token that is not written unless asked for: unknown."""
        return self.unknown_id

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical vocabulary, in hexadecimal."""
        canonical = json.dumps({"kind": self.kind, "itos": self.itos}, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    def encode(self, text: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids (N,) of the N characters of `text`, in the smallest unsigned type."""
        ids = np.empty(len(text), dtype=self._ids_of.dtype)
        for start in range(0, len(text), CHUNK_CHARACTERS):
            chunk = text[start : start + CHUNK_CHARACTERS]
            code_points = np.frombuffer(chunk.encode("utf-32-le", "surrogatepass"), dtype="<u4")
            self._ids_of.take(code_points, mode="clip", out=ids[start : start + len(chunk)])
        return ids

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text of the ids (N,); unknown is U+FFFD.

        Raises:
            ValueError: an id lies outside the vocabulary.
        """
        indices = np.asarray(ids, dtype=np.int64).reshape(-1)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self.itos)):
            raise ValueError(f"ids must lie in 0..{len(self.itos) - 1}, got {indices.min()}..{indices.max()}")
        return self._code_points[indices].tobytes().decode("utf-32-le")

    def encode_lines(self, text: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids of records, one a line: the same as `encode`, for the newline is the end of a record."""
        return self.encode(text)

    def token_strings(self, ids: npt.ArrayLike) -> list[str]:
        """Return the text of each token; joined, they are `decode(ids)`."""
        return list(self.decode(ids))

    def unknown_in(self, text: str) -> list[str]:
        """Return the distinct characters of `text` that are not in the vocabulary, in order of appearance."""
        return [character for character in dict.fromkeys(text) if character not in self.stoi]

    def incremental(self, prompt: str = "") -> CharacterDecoder:
        """Return a decoder that takes one id at a time; what stood before it makes no difference."""
        return CharacterDecoder(self)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` (Hugging Face `tokenizers` format) and `vocab.json` into `folder`."""
        vocabulary = json.dumps({"itos": self.itos}, ensure_ascii=False, indent=0)
        write_whole(Path(folder) / "vocab.json", vocabulary + "\n")
        write_whole(Path(folder) / "tokenizer.json", self._hugging_face_json() + "\n")

    def _hugging_face_json(self) -> str:
        """One isolated piece for each code point, looked up as a whole word."""
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

        hub = Tokenizer(models.WordLevel(self.stoi, unk_token=UNKNOWN_TOKEN))
        hub.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        hub.decoder = decoders.Fuse()
        return hub.to_str(pretty=True)


class CharacterDecoder:
    """Every character is certain at once, so nothing is ever held back."""

    def __init__(self, tokenizer: CharacterTokenizer) -> None:
        self._itos = tokenizer.itos

    def push(self, token_id: int) -> str:
        """Return the text that became certain with this token."""
        if not 0 <= token_id < len(self._itos):
            raise ValueError(f"an id must lie in 0..{len(self._itos) - 1}, got {token_id}")
        return REPLACEMENT if token_id == UNKNOWN_ID else self._itos[token_id]

    def flush(self) -> str:
        """Return what was held back: nothing."""
        return ""


def smallest_dtype(count: int) -> np.dtype[np.unsignedinteger]:
    """Return the smallest little-endian unsigned type that holds `count` different ids."""
    return np.dtype("<u1" if count <= 2**8 else "<u2" if count <= 2**16 else "<u4")


def _check(itos: tuple[str, ...]) -> None:
    if not itos or itos[0] != UNKNOWN_TOKEN:
        raise ValueError(f"the first entry of a character vocabulary must be {UNKNOWN_TOKEN!r}")
    wrong = [entry for entry in itos[1:] if not isinstance(entry, str) or len(entry) != 1 or _is_surrogate(entry)]
    if wrong:
        raise ValueError(f"entries of a character vocabulary must be single characters, got {wrong[0]!r:.40}")
    if len(set(itos)) != len(itos):
        raise ValueError("the entries of a character vocabulary must be distinct")


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def write_whole(path: Path, text: str) -> None:
    """Write beside the target and rename, so that the file is never seen half written."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with partial.open("xb") as file:  # a new file: never through a link that somebody left there
        file.write(text.encode("utf-8"))
    os.replace(partial, path)

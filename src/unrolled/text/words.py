"""The word tokenizer: lower case, only `[a-z0-9']`, split at white space.

    "Well, WELL!  Don't.\\n"  ->  well  well  don't  <eos>

All other characters are removed, so `half-orc` becomes `halforc`. A line that contains a word and is terminated by a
newline ends in `<eos>`; a last line without a newline does not, so that a prompt can be continued on the same line.
Words that are not in the vocabulary become `<unk>`.

A tag is a vocabulary entry such as `GANDALF:`. Tags alone are recognized before lower-casing: at the beginning of a
line a tag is one token, anywhere else it is ordinary text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.text.characters import UNKNOWN_TOKEN, smallest_dtype, write_whole
from unrolled.text.words_file import MARKS, hugging_face_form

EOS_TOKEN = "<eos>"  # nosec B105 # not a password
DROPPED = re.compile(r"[^a-z0-9'\s]+")  # \s matches exactly the white space of str.split
OWN_MARKS = re.compile(f"[{MARKS}]+")


class WordTokenizer:
    """Maps words to ids and back.

    Args:
        itos: the text of each id: distinct non-empty texts in any order. `<unk>` represents unknown words (without
            such an entry, id 0 does), `<eos>` the end of a line (without such an entry, line ends are not encoded).
            Entries that the rule cannot produce are never encoded.
        tags: the entries that are read as one token at the beginning of a line; each ends in a colon.

    Raises:
        ValueError: `itos` or `tags` are anything else.
    """

    kind = "word"

    def __init__(self, itos: Sequence[str], *, tags: Sequence[str] = ()) -> None:
        self.itos = tuple(itos)
        self.tags = tuple(tags)
        _check(self.itos, self.tags)
        self.stoi = {entry: index for index, entry in enumerate(self.itos)}
        self.unknown_id: int = self.stoi.get(UNKNOWN_TOKEN, 0)
        self.eos_id: int | None = self.stoi.get(EOS_TOKEN)
        self._tag = _pattern_of(self.tags)

    @classmethod
    def from_counts(
        cls, counts: Mapping[str, int], min_count: int = 1, largest: int = 0, tags: Sequence[str] = ()
    ) -> WordTokenizer:
        """Build a vocabulary of the words that occur often enough: by descending count, then alphabetically; tags last.

        Args:
            counts: how often each word occurs.
            min_count: words with fewer occurrences stay unknown.
            largest: maximum number of entries, including `<unk>`, `<eos>` and tags; 0: unlimited.
            tags: see the class.
        """
        words = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
        room = max(0, largest - 2 - len(tags)) if largest else len(words)
        return cls([UNKNOWN_TOKEN, EOS_TOKEN, *words[:room], *tags], tags=tags)

    @property
    def vocabulary_size(self) -> int:
        return len(self.itos)

    @property
    def start_id(self) -> int:
        """The token that unconditional text starts from: the end of the preceding line, or unknown."""
        return self.unknown_id if self.eos_id is None else self.eos_id

    @property
    def unwritten_id(self) -> int | None:
        """The id of `<unk>`; None if the vocabulary has no such entry, so that a real word represents unknown words."""
        return self.stoi.get(UNKNOWN_TOKEN)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical vocabulary, in hexadecimal."""
        content: dict[str, Any] = {"kind": self.kind, "itos": self.itos}
        if self.tags:
            content["tags"] = self.tags
        canonical = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    def encode(self, text: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids (N,) of the words and line ends of `text`, in the smallest unsigned type."""
        known, unknown = self.stoi, self.unknown_id
        ids = [known.get(token, unknown) for token in self._tokens(text)]
        return np.array(ids, dtype=smallest_dtype(len(self.itos)))

    def encode_lines(self, text: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids of records, one per line: the same as `encode`, as every line ends in `<eos>`."""
        return self.encode(text)

    def decode(self, ids: npt.ArrayLike, reversible: bool = False) -> str:
        """Return the text of the ids (N,): words separated by spaces, with a newline for `<eos>`.

        Args:
            reversible: write every token by name, separated by spaces, as `encode_reversible` reads it.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        if reversible:
            return " ".join(map(_escaped, self._entries(ids)))
        return "".join(self.token_strings(ids))

    def encode_reversible(self, text: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids of a reversible text.

        Raises:
            ValueError: a name is not in the vocabulary.
        """
        by_name = {_escaped(entry): index for index, entry in enumerate(self.itos)}
        names = text.split(" ") if text else []
        if strange := [name for name in names if name not in by_name]:
            raise ValueError(f"there is no token named {strange[0]!r:.60} in the vocabulary")
        return np.array([by_name[name] for name in names], dtype=smallest_dtype(len(self.itos)))

    def token_strings(self, ids: npt.ArrayLike) -> list[str]:
        """Return the text of each token with its space; joined, the strings equal `decode(ids)`."""
        decoder = self.incremental()
        return [decoder.push(index) for index in _flat(ids)]

    def unknown_in(self, text: str) -> list[str]:
        """Return the distinct words of `text` that are not in the vocabulary, in order of appearance."""
        return [word for word in dict.fromkeys(self._tokens(text)) if word not in self.stoi]

    def incremental(self, prompt: str = "") -> WordDecoder:
        """Return a decoder that takes one id at a time and continues after `prompt`."""
        return WordDecoder(self, at_line_start=not prompt or prompt[-1].isspace())

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` (Hugging Face `tokenizers` format) and `vocab.json` into `folder`."""
        vocabulary = json.dumps({"itos": self.itos}, ensure_ascii=False, indent=0)
        write_whole(Path(folder) / "vocab.json", vocabulary + "\n")
        write_whole(Path(folder) / "tokenizer.json", json.dumps(self.hugging_face(), ensure_ascii=False, indent=1))

    def hugging_face(self) -> dict[str, Any]:
        """Return the content of `tokenizer.json`."""
        eos = None if self.eos_id is None else EOS_TOKEN
        return hugging_face_form(self.stoi, self.itos[self.unknown_id], eos, self.tags)

    def _tokens(self, text: str) -> Iterator[str]:
        *ended, last = (OWN_MARKS.sub("", text) if self.tags else text).split("\n")
        for line in ended:
            words = self._tokens_of_line(line)
            yield from words
            if words and self.eos_id is not None:
                yield EOS_TOKEN
        yield from self._tokens_of_line(last)

    def _tokens_of_line(self, line: str) -> list[str]:
        tag = None if self._tag is None else self._tag.match(line)
        return words_of(line) if tag is None else [tag.group(), *words_of(line[tag.end() :])]

    def _entries(self, ids: npt.ArrayLike) -> list[str]:
        indices = _flat(ids)
        if indices and not 0 <= min(indices) <= max(indices) < len(self.itos):
            raise ValueError(f"ids must lie in 0..{len(self.itos) - 1}, got {min(indices)}..{max(indices)}")
        return [self.itos[index] for index in indices]


class WordDecoder:
    """Decodes incrementally and restores the spaces; every token is a whole word, so nothing is ever held back."""

    def __init__(self, tokenizer: WordTokenizer, at_line_start: bool) -> None:
        self._itos, self._eos_id = tokenizer.itos, tokenizer.eos_id
        self._at_line_start = at_line_start

    def push(self, token_id: int) -> str:
        """Return the text of this token."""
        if not 0 <= token_id < len(self._itos):
            raise ValueError(f"ids must lie in 0..{len(self._itos) - 1}, got {token_id}")
        space = "" if self._at_line_start else " "
        self._at_line_start = token_id == self._eos_id
        return "\n" if self._at_line_start else space + self._itos[token_id]

    def flush(self) -> str:
        """Return what was held back: always nothing."""
        return ""


def words_of(text: str) -> list[str]:
    """Return the words of a text, without line ends."""
    return DROPPED.sub("", text.lower()).split()


def _flat(ids: npt.ArrayLike) -> list[int]:
    return np.asarray(ids, dtype=np.int64).reshape(-1).tolist()


def _escaped(entry: str) -> str:
    """Return the entry as a name without spaces."""
    return entry.replace("\\", "\\\\").replace(" ", "\\_")


def _pattern_of(tags: Sequence[str]) -> re.Pattern[str] | None:
    """Return a pattern that matches the longest possible tag, or None if there are no tags."""
    return re.compile("|".join(map(re.escape, sorted(tags, key=len, reverse=True)))) if tags else None


def _check(itos: tuple[str, ...], tags: tuple[str, ...]) -> None:
    if not itos:
        raise ValueError("a word vocabulary must not be empty")
    wrong = [entry for entry in itos if not isinstance(entry, str) or not entry or re.search("[\ud800-\udfff]", entry)]
    if wrong:
        raise ValueError(f"entries of a word vocabulary must be texts and not empty, got {wrong[0]!r:.40}")
    if len(set(itos)) != len(itos):
        twice = next(entry for index, entry in enumerate(itos) if entry in itos[:index])
        raise ValueError(f"the entries of a word vocabulary must be distinct, but {twice!r:.40} occurs twice")
    if len(set(tags)) != len(tags) or not all(_is_tag(tag, itos) for tag in tags):
        raise ValueError("tags must be distinct entries of the vocabulary, of one line, that end in a colon")


def _is_tag(tag: Any, itos: tuple[str, ...]) -> bool:
    return tag in itos and tag.endswith(":") and "\n" not in tag and OWN_MARKS.search(tag) is None

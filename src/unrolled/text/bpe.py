"""The subword tokenizer: byte-level byte-pair encoding (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909).

Text is split into lines, newlines and words, and words into UTF-8 bytes; then the pairs that were most frequent in the
training text are merged, one rule after another. Every single byte is a token, so nothing is ever unknown; a token may
be part of a character. Lines do not depend on each other, so text can be encoded in chunks that end at line ends.

The library `tokenizers` learns and applies the merges. Its files represent each byte by a visible character: printable
Latin-1 characters represent their own byte, the other 68 bytes are numbered from U+0100. `<eos>` is in the vocabulary,
but no text is ever encoded to it, so that `<eos>` in a prompt does not end the text.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.strict_json import parse_json
from unrolled.text.characters import REPLACEMENT, smallest_dtype, write_whole
from unrolled.text.words import EOS_TOKEN

LINES = re.compile(r"[^\n]*\n|[^\n]+")  # splitlines would split at more characters than the library does
SURROGATES = re.compile("[\ud800-\udfff]")
PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
OTHERS = [byte for byte in range(256) if byte not in PRINTABLE]
CHARACTER_OF = {byte: chr(byte) for byte in PRINTABLE} | {byte: chr(256 + n) for n, byte in enumerate(OTHERS)}
BYTE_OF = {character: byte for byte, character in CHARACTER_OF.items()}

Merge = tuple[str, str]


class BytePairTokenizer:
    """Maps subwords to ids and back.

    Args:
        itos: the entry of each id, bytes as visible characters: `<eos>` first, all 256 bytes, the results of merges.
        merges: the pairs in the order in which they are applied.

    Raises:
        ValueError: the vocabulary and the merges do not match or are malformed.
    """

    kind = "bpe"
    unknown_id = None
    unwritten_id = None
    eos_id = 0

    def __init__(self, itos: Sequence[str], merges: Sequence[Sequence[str]]) -> None:
        self.itos = tuple(itos)
        self.merges: tuple[Merge, ...] = tuple((first, second) for first, second in merges)
        _check(self.itos, self.merges)
        self._bytes = [b"\n", *(bytes(BYTE_OF[character] for character in entry) for entry in self.itos[1:])]
        self._hub = _hub_of(self.hugging_face())

    @classmethod
    def trained(cls, chunks: Iterable[str], vocabulary_size: int) -> BytePairTokenizer:
        """Learn merges from a text.

        Args:
            chunks: the text, split at line ends.
            vocabulary_size: maximum number of tokens, at least 257; a small text yields fewer merges.
        """
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        hub = Tokenizer(models.BPE())
        hub.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary_size - 1, initial_alphabet=sorted(BYTE_OF), show_progress=False
        )
        hub.train_from_iterator(map(_encodable, chunks), trainer)
        model = parse_json(hub.to_str())["model"]
        return cls([EOS_TOKEN, *sorted(model["vocab"], key=model["vocab"].__getitem__)], model["merges"])

    @property
    def vocabulary_size(self) -> int:
        return len(self.itos)

    @property
    def start_id(self) -> int:
        """The token that unconditional text starts from: the end of the preceding text."""
        return self.eos_id

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical vocabulary, in hexadecimal."""
        content = {"kind": self.kind, "itos": self.itos, "merges": self.merges}
        canonical = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    def encode(self, text: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids (N,) of `text` in the smallest unsigned type; lone surrogates become U+FFFD."""
        return self._array(itertools.chain.from_iterable(self._encoded(LINES.findall(text))))

    def encode_lines(self, text: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the ids of records, one per line; each newline becomes `<eos>`."""
        *ended, last = text.split("\n")
        ids = list(self._encoded([*ended, last]))
        return self._array(itertools.chain(*((*record, self.eos_id) for record in ids[:-1]), ids[-1]))

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text of the ids (N,), with a newline for `<eos>` and U+FFFD for invalid UTF-8.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        return b"".join(map(self.bytes_of, np.asarray(ids, dtype=np.int64).reshape(-1).tolist())).decode(
            "utf-8", "replace"
        )

    def token_strings(self, ids: npt.ArrayLike) -> list[str]:
        """Return the text that each token completes; joined, the strings equal `decode(ids)`."""
        decoder = self.incremental()
        strings = [decoder.push(index) for index in np.asarray(ids, dtype=np.int64).reshape(-1).tolist()]
        if rest := decoder.flush():
            strings[-1] += rest
        return strings

    def unknown_in(self, text: str) -> list[str]:
        """Return the unknown parts of `text`: always none."""
        return []

    def incremental(self, prompt: str = "") -> BytePairDecoder:
        """Return a decoder that takes one id at a time; it does not depend on the prompt."""
        return BytePairDecoder(self)

    def bytes_of(self, token_id: int) -> bytes:
        """Return the bytes of a token; they need not be whole characters.

        Raises:
            ValueError: the id is outside the vocabulary.
        """
        if not 0 <= token_id < len(self._bytes):
            raise ValueError(f"ids must lie in 0..{len(self._bytes) - 1}, got {token_id}")
        return self._bytes[token_id]

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` (Hugging Face `tokenizers` format) and `vocab.json` into `folder`."""
        vocabulary = json.dumps({"itos": self.itos}, ensure_ascii=False, indent=0)
        write_whole(Path(folder) / "vocab.json", vocabulary + "\n")
        write_whole(Path(folder) / "tokenizer.json", json.dumps(self.hugging_face(), ensure_ascii=False, indent=1))

    def hugging_face(self) -> dict[str, Any]:
        """Return the content of `tokenizer.json`."""
        # A token's name is not a password:
        model = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}  # nosec
        flags = {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
        vocabulary = {entry: index for index, entry in enumerate(self.itos)}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_split_at_newlines(), _byte_level(False)]},
            "post_processor": None,
            "decoder": _byte_level(True),
            "model": {"type": "BPE", **model, **flags, "vocab": vocabulary, "merges": list(map(list, self.merges))},
        }

    def _encoded(self, lines: list[str]) -> Iterator[list[int]]:
        for encoding in self._hub.encode_batch(list(map(_encodable, lines)), add_special_tokens=False):
            yield encoding.ids

    def _array(self, ids: Iterable[int]) -> npt.NDArray[np.unsignedinteger]:
        return np.fromiter(ids, dtype=smallest_dtype(len(self.itos)))


class BytePairDecoder:
    """Decodes incrementally; the bytes of an incomplete character are held back."""

    def __init__(self, tokenizer: BytePairTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Return the text that this token completes."""
        return self._decoder.decode(self._tokenizer.bytes_of(token_id))

    def flush(self) -> str:
        """Return what was held back: U+FFFD for an incomplete character."""
        return self._decoder.decode(b"", final=True)


def _split_at_newlines() -> dict[str, Any]:
    return {"type": "Split", "pattern": {"String": "\n"}, "behavior": "Isolated", "invert": False}


def _byte_level(decodes: bool) -> dict[str, Any]:
    """Return the library's ByteLevel component as it serializes it; a decoder ignores two of the flags."""
    return {"type": "ByteLevel", "add_prefix_space": decodes, "trim_offsets": True, "use_regex": True}


def _hub_of(content: dict[str, Any]) -> Any:
    """Return the library's tokenizer for this content.

    Raises:
        ValueError: the library rejects it.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(json.dumps(content))
    except Exception as problem:  # the library raises nothing more specific
        raise ValueError(f"the library tokenizers rejects the merges: {problem}") from None


def _encodable(text: str) -> str:
    return SURROGATES.sub(REPLACEMENT, text)


def _check(itos: tuple[str, ...], merges: tuple[Merge, ...]) -> None:
    if not itos or itos[0] != EOS_TOKEN:
        raise ValueError(f"the first entry of a subword vocabulary must be {EOS_TOKEN!r}")
    if any(not isinstance(entry, str) or not entry or not BYTE_OF.keys() >= set(entry) for entry in itos[1:]):
        raise ValueError("the entries of a subword vocabulary must be bytes, written as visible characters")
    made = [*BYTE_OF, *dict.fromkeys(first + second for first, second in merges)]
    if len(set(itos)) != len(itos) or set(itos[1:]) != set(made):
        raise ValueError("a subword vocabulary must hold every byte and the result of every merge exactly once")

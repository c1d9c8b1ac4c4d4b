"""A corpus: any text as a training and a validation sequence of tokens on disk.

The text is spooled and hashed, split by position, and only then does the training part give the vocabulary; both parts
are encoded once into `train.bin` and `valid.bin` and kept under a key of everything that they depend on. Nothing here
holds more than a piece of the text in memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unrolled.config import DataSettings
from unrolled.data.cache import build_entry, corpora_folder, disk_full_is_plain, writable_corpora_folder
from unrolled.data.encoding import Counts, TokenSequence, encode_pieces, ids_dtype, unknown_notes
from unrolled.data.spool import Spool
from unrolled.errors import UserError
from unrolled.text.characters import CharacterTokenizer
from unrolled.text.sources import read_sources
from unrolled.text.tokenizer import Tokenizer, load_tokenizer

FORMAT_VERSION = 1
FEWEST_CHARACTERS_TO_SPLIT = 40
FEWEST_TOKENS = 2  # one to read, one to predict
SPLITS = ("train", "valid")


@dataclass(frozen=True)
class Corpus:
    """A text ready for training.

    Attributes:
        content_sha256: of the clean text (the training text, where validation has sources of its own).
        cache_key: opens the same corpus again with `open_cached`.
        notes: plain sentences that the user should see.
    """

    train: TokenSequence
    valid: TokenSequence
    tokenizer: Tokenizer
    content_sha256: str
    cache_key: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """Characters `start` to `stop` - 1 of a spool, `times` over."""

    spool: Spool
    start: int
    stop: int
    times: int = 1

    def pieces(self) -> Iterator[str]:
        for _ in range(self.times):
            yield from self.spool.pieces(self.start, self.stop)


def prepare_corpus(
    sources: Sequence[str],
    settings: DataSettings,
    *,
    valid_sources: Sequence[str] = (),
    tokenizer: Tokenizer | None = None,
    cache_folder: Path | None = None,
    stdin: BinaryIO | None = None,
) -> Corpus:
    """Read, split and encode a text, or find it in the cache.

    Args:
        sources: what to read, as in `unrolled.text.sources`.
        valid_sources: where given, all of `sources` trains and these validate.
        tokenizer: an existing vocabulary, for fine-tuning; by default the training part gives its own.
        cache_folder: instead of the default one, see `unrolled.data.cache`.
        stdin: the bytes behind the source `-`.

    Raises:
        UserError: a source is missing, empty or no text; the disk is full.
    """
    if "-" in sources and "-" in valid_sources:
        raise UserError("Standard input (-) can be read only once, for training or for validation.")
    folder, note = writable_corpora_folder(cache_folder)
    notes = [] if note is None else [note]
    with disk_full_is_plain(folder), ExitStack() as spools:

        def spooled(specs: Sequence[str]) -> Spool:
            source = read_sources(specs, settings.encoding_errors, stdin)
            spool = spools.enter_context(Spool(source, folder))
            notes.extend(source.report.notes)
            return spool

        text = spooled(sources)
        valid_text = spooled(valid_sources) if valid_sources else None
        train, valid, split_notes = _split(text, valid_text, settings.valid_fraction)
        key = _key(text, valid_text, settings, tokenizer)
        if open_entry(folder / key) is None:
            build_entry(
                folder / key,
                lambda building: _encode(building, train, valid, tokenizer),
                lambda entry: open_entry(entry) is not None,
            )
    corpus = open_entry(folder / key)
    if corpus is None:
        raise UserError(f"The encoded text in {folder / key} cannot be read back; remove that folder and try again.")
    return dataclasses.replace(corpus, notes=(*notes, *split_notes, *corpus.notes))


def open_cached(cache_key: str, cache_folder: Path | None = None) -> Corpus | None:
    """Return the corpus with this key as the cache holds it, or None where it is gone or damaged."""
    if len(cache_key) != 64 or not set(cache_key) <= set("0123456789abcdef"):
        return None
    return open_entry(corpora_folder(cache_folder) / cache_key)


def open_entry(entry: Path) -> Corpus | None:
    """Return the corpus in a folder of the cache, or None where anything about it is not as it was written."""
    try:
        meta = json.loads((entry / "meta.json").read_bytes())
        tokenizer = load_tokenizer(entry)
        if meta["format_version"] != FORMAT_VERSION or meta["tokenizer_fingerprint"] != tokenizer.fingerprint:
            return None
        counts = {split: _counts(meta[split]) for split in SPLITS}
        train, valid = (_mapped(entry / f"{split}.bin", counts[split], tokenizer) for split in SPLITS)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError):
        return None
    notes = unknown_notes(counts["train"], "The training text") + unknown_notes(counts["valid"], "The validation text")
    return Corpus(train, valid, tokenizer, str(meta["content_sha256"]), entry.name, tuple(notes))


def _split(text: Spool, valid_text: Spool | None, valid_fraction: float) -> tuple[_Part, _Part, list[str]]:
    """Return the training and the validation part, each of at least two characters, and plain notes."""
    whole, notes = _whole(text, "text")
    if valid_text is not None:
        valid, valid_notes = _whole(valid_text, "validation text")
        return whole, valid, notes + valid_notes
    if text.characters < FEWEST_CHARACTERS_TO_SPLIT:
        size = "1 character" if text.characters == 1 else f"{text.characters} characters"
        notes.append(f"The text has only {size}, too few to keep some for validation; the same text validates.")
        return whole, whole, notes
    kept = round(text.characters * valid_fraction)
    kept = min(max(kept, FEWEST_TOKENS), text.characters - FEWEST_TOKENS)
    border = text.characters - kept
    return _Part(text, 0, border), _Part(text, border, text.characters), notes


def _whole(text: Spool, what: str) -> tuple[_Part, list[str]]:
    if text.characters >= FEWEST_TOKENS:
        return _Part(text, 0, text.characters), []
    return _Part(text, 0, 1, times=FEWEST_TOKENS), [f"The {what} is a single character; it is read twice."]


def _key(text: Spool, valid_text: Spool | None, settings: DataSettings, tokenizer: Tokenizer | None) -> str:
    """Return the SHA-256 of everything that the encoded files depend on."""
    parts = {
        "format_version": FORMAT_VERSION,
        "content": text.sha256,
        "valid": None if valid_text is None else valid_text.sha256,
        "valid_fraction": None if valid_text is not None else settings.valid_fraction,
        "tokenizer": settings.tokenizer if tokenizer is None else tokenizer.fingerprint,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()


def _encode(folder: Path, train: _Part, valid: _Part, tokenizer: Tokenizer | None) -> None:
    """Write everything that belongs to a cached corpus into an empty folder."""
    if tokenizer is None:
        tokenizer = _vocabulary_of(train)
    tokenizer.save(folder)
    meta: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "content_sha256": train.spool.sha256,
        "tokenizer_fingerprint": tokenizer.fingerprint,
    }
    for split, part in zip(SPLITS, (train, valid), strict=True):
        with (folder / f"{split}.bin").open("wb") as file:
            meta[split] = dataclasses.asdict(encode_pieces(tokenizer, part.pieces(), file))
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _vocabulary_of(train: _Part) -> CharacterTokenizer:
    """Return the tokenizer of the characters of the training part, and of no other."""
    characters: set[str] = set()
    for piece in train.pieces():
        characters.update(piece)
    return CharacterTokenizer.from_characters(characters)


def _counts(values: dict[str, Any]) -> Counts:
    return Counts(**{**values, "unknown": tuple(values["unknown"])})


def _mapped(path: Path, counts: Counts, tokenizer: Tokenizer) -> TokenSequence:
    """Map a file of ids into memory, read-only; ValueError where its size is not the one that was written."""
    dtype = ids_dtype(tokenizer)
    if counts.tokens < FEWEST_TOKENS or path.stat().st_size != counts.tokens * dtype.itemsize:
        raise ValueError(f"{path} does not hold {counts.tokens} ids")
    ids = np.memmap(path, dtype=dtype, mode="r")
    return TokenSequence(ids, counts.characters, counts.utf8_bytes, counts.unknown_tokens, counts.unknown)

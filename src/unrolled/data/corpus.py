"""A corpus: any text as sequences of tokens on disk: to learn from, to validate on, and for records to test.

The text is spooled and hashed, then split, and only then does the training part give the vocabulary; the parts are
encoded once into `train.bin`, `valid.bin` and `test.bin` and kept under a key of everything that they depend on. They
are read, not mapped: if another program shortens a file, that is an error and does not crash the process.
Nothing here holds more than a chunk of the text in memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from unrolled.config import DataSettings
from unrolled.data.cache import build_entry, corpora_folder, disk_full_is_plain, writable_corpora_folder
from unrolled.data.encoding import Counts, TokenSequence, encode_chunks, ids_dtype, source_of, unknown_notes
from unrolled.data.splits import SPLITS, Split, split_text
from unrolled.data.spool import Spool
from unrolled.data.stored_ids import StoredIds
from unrolled.errors import UserError
from unrolled.files import open_regular, read_regular
from unrolled.strict_json import parse_json
from unrolled.text import Coverage, Tokenizer, load_tokenizer, make_tokenizer

FORMAT_VERSION = 1
LARGEST_META_BYTES = 1_000_000
FEWEST_TOKENS = {"train": 2, "valid": 1, "test": 1}  # one to read, one to predict; the first of a text is predicted too
WHAT = {"train": "The training text", "valid": "The validation text", "test": "The test text"}


@dataclass(frozen=True)
class Corpus:
    """A text ready for training.

    Attributes:
        content_sha256: of the clean text (the training text, where validation has sources of its own).
        cache_key: opens the same corpus again with `open_cached`.
        notes: plain sentences that the user should see.
        test: what neither trains nor validates, where there is such a part.
        coverage: what a word vocabulary made here covers of the training text.
    """

    train: TokenSequence
    valid: TokenSequence
    tokenizer: Tokenizer
    content_sha256: str
    cache_key: str
    notes: tuple[str, ...]
    test: TokenSequence | None = None
    coverage: Coverage | None = None


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
        sources: what to read, as in `unrolled.sources.sources`.
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
            source = source_of(specs, settings, stdin)
            spool = spools.enter_context(Spool(source, folder))
            notes.extend(source.report.notes)
            return spool

        text = spooled(sources)
        valid_text = spooled(valid_sources) if valid_sources else None
        split = split_text(text, valid_text, settings, settings.tokenizer if tokenizer is None else tokenizer.kind)
        key = _key(text, valid_text, settings, tokenizer)
        if open_entry(folder / key) is None:
            build_entry(
                folder / key,
                lambda building: _encode(building, split, settings, tokenizer, text.sha256),
                lambda entry: open_entry(entry) is not None,
            )
    corpus = open_entry(folder / key)
    if corpus is None:
        raise UserError(f"The encoded text in {folder / key} cannot be read back; remove that folder and try again.")
    return dataclasses.replace(corpus, notes=(*notes, *split.notes, *corpus.notes))


def open_cached(cache_key: str, cache_folder: Path | None = None) -> Corpus | None:
    """Return the corpus with this key as the cache holds it, or None where it is gone or damaged."""
    if len(cache_key) != 64 or not set(cache_key) <= set("0123456789abcdef"):
        return None
    return open_entry(corpora_folder(cache_folder) / cache_key)


def open_entry(entry: Path) -> Corpus | None:
    """Return the corpus in a folder of the cache, or None where anything about it is not as it was written."""
    try:
        meta = parse_json(read_regular(entry / "meta.json", LARGEST_META_BYTES))
        tokenizer = load_tokenizer(entry)
        if meta["format_version"] != FORMAT_VERSION or meta["tokenizer_fingerprint"] != tokenizer.fingerprint:
            return None
        counts = {split: _counts(meta[split]) for split in SPLITS if split != "test" or split in meta}
        parts = {split: _stored(entry, split, counts[split], tokenizer) for split in counts}
        coverage = Coverage(**meta["coverage"]) if "coverage" in meta else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError):
        return None
    notes = [] if coverage is None else [coverage.sentence()]
    for split in counts:
        if coverage is None or split != "train":
            notes += unknown_notes(counts[split], WHAT[split], tokenizer.kind)
    return Corpus(
        parts["train"],
        parts["valid"],
        tokenizer,
        str(meta["content_sha256"]),
        entry.name,
        tuple(notes),
        parts.get("test"),
        coverage,
    )


def _key(text: Spool, valid_text: Spool | None, settings: DataSettings, tokenizer: Tokenizer | None) -> str:
    """Return the SHA-256 of everything that the encoded files depend on."""
    parts = {
        "format_version": FORMAT_VERSION,
        "content": text.sha256,
        "valid": None if valid_text is None else valid_text.sha256,
        "valid_fraction": None if valid_text is not None else settings.valid_fraction,
        "tokenizer": settings.tokenizer if tokenizer is None else tokenizer.fingerprint,
    }
    # Only what matters is named, so that the key of a text of characters is what it was before there was anything else.
    if settings.split == "records":
        parts |= {"split": "records", "test_fraction": settings.test_fraction, "split_seed": settings.split_seed}
    if tokenizer is None and settings.tokenizer != "character":
        parts["vocabulary_size"] = settings.vocabulary_size
    if tokenizer is None and settings.tokenizer == "word":
        parts |= {"min_count": settings.min_count, "speakers": settings.speaker_column != ""}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()


def _encode(
    folder: Path, split: Split, settings: DataSettings, tokenizer: Tokenizer | None, content_sha256: str
) -> None:
    """Write everything that belongs to a cached corpus into an empty folder."""
    meta: dict[str, Any] = {"format_version": FORMAT_VERSION, "content_sha256": content_sha256}
    if tokenizer is None:
        tokenizer, coverage = make_tokenizer(split.train.chunks(), settings)
        meta |= {} if coverage is None else {"coverage": dataclasses.asdict(coverage)}
    tokenizer.save(folder)
    meta["tokenizer_fingerprint"] = tokenizer.fingerprint
    for name, part in split.parts().items():
        with (folder / f"{name}.bin").open("wb") as file:
            counts = encode_chunks(tokenizer, part.chunks(), file, of_records=settings.split == "records")
        _check_size(name, counts)
        meta[name] = dataclasses.asdict(counts)
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _check_size(split: str, counts: Counts) -> None:
    if counts.tokens < FEWEST_TOKENS[split]:
        found = "no token" if counts.tokens == 0 else "a single token"
        raise UserError(f"{WHAT[split]} gives {found}, too little to train on; give more text.")


def _counts(values: dict[str, Any]) -> Counts:
    return Counts(**{**values, "unknown": tuple(values["unknown"])})


def _stored(entry: Path, split: str, counts: Counts, tokenizer: Tokenizer) -> TokenSequence:
    """Open a file of ids; ValueError where its size is not the one that was written."""
    path, dtype = entry / f"{split}.bin", ids_dtype(tokenizer)
    size_bytes = counts.tokens * dtype.itemsize
    ids = StoredIds(open_regular(path, size_bytes).detach(), dtype, str(path))
    if len(ids) < FEWEST_TOKENS[split] or len(ids) * dtype.itemsize != size_bytes:
        raise ValueError(f"{path} does not hold {counts.tokens} ids")
    return TokenSequence(ids, counts.characters, counts.utf8_bytes, counts.unknown_tokens, counts.unknown)

"""Building a tokenizer of any kind from a text, and measuring what its vocabulary covers.

The vocabulary is built from the training part only, so that what occurs only in the validation part stays unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from unrolled.config import DataSettings
from unrolled.errors import UserError
from unrolled.text.bpe import BytePairTokenizer
from unrolled.text.characters import CharacterTokenizer
from unrolled.text.tokenizer import Tokenizer
from unrolled.text.words import WordTokenizer, words_of
from unrolled.text.words_file import FIRST_MARK, MAX_TAGS

DEFAULT_BPE_VOCABULARY = 4096  # if no vocabulary size is set
MAX_SPEAKER_CHARACTERS = 80  # characters
SPEAKER_END = ": "


@dataclass(frozen=True)
class Coverage:
    """How much of a text a word vocabulary covers.

    Attributes:
        tokens: number of words in the text, not counting line ends.
        types: number of distinct words.
        kept: number of types in the vocabulary.
        unknown: number of words that are not in the vocabulary.
    """

    tokens: int
    types: int
    kept: int
    unknown: int

    @property
    def unknown_fraction(self) -> float:
        """Fraction of the words that become `<unk>`."""
        return self.unknown / self.tokens if self.tokens else 0.0

    def sentence(self) -> str:
        """Return the sentence that reports the coverage."""
        return (
            f"The training text has {self.tokens:,} words of {self.types:,} types; {self.kept:,} types are in the "
            f"vocabulary, and {self.unknown_fraction:.1%} of the words become <unk>."
        )


def make_tokenizer(chunks: Iterable[str], settings: DataSettings) -> tuple[Tokenizer, Coverage | None]:
    """Build the kind of tokenizer that the settings specify.

    Args:
        chunks: the training text, split at line ends (anywhere, for characters); iterated over once.

    Returns:
        The tokenizer, and its coverage if it is a word tokenizer.

    Raises:
        UserError: no word occurs often enough, or the vocabulary has no room for words.
    """
    if settings.tokenizer == "word":
        return _word_tokenizer(chunks, settings)
    if settings.tokenizer == "bpe":
        return BytePairTokenizer.trained(chunks, settings.vocabulary_size or DEFAULT_BPE_VOCABULARY), None
    characters: set[str] = set()
    for chunk in chunks:
        characters.update(chunk)
    return CharacterTokenizer.from_characters(characters), None


def _word_tokenizer(chunks: Iterable[str], settings: DataSettings) -> tuple[WordTokenizer, Coverage]:
    counts: Counter[str] = Counter()
    tags: list[str] = []
    if settings.speaker_column == "":
        for chunk in chunks:
            counts.update(words_of(chunk))
    else:
        tags = _count_with_speakers(chunks, settings.min_count, counts)
    tokenizer = WordTokenizer.from_counts(counts, settings.min_count, settings.vocabulary_size, tags)
    kept = [word for word in counts if word in tokenizer.stoi]
    if not kept:
        raise UserError(_too_few(counts, settings))
    tokens = counts.total()
    return tokenizer, Coverage(tokens, len(counts), len(kept), tokens - sum(counts[word] for word in kept))


def _count_with_speakers(chunks: Iterable[str], min_count: int, counts: Counter[str]) -> list[str]:
    """Count the words after each line's speaker into `counts`; return the tags of frequent speakers.

    The names of other speakers are counted as ordinary words.
    """
    speakers: Counter[str] = Counter()
    for line in (line for chunk in chunks for line in chunk.split("\n")):
        tag = _tag_of(line)
        speakers.update([tag] if tag else [])
        counts.update(words_of(line[len(tag) :]))
    ordered = sorted(speakers.items(), key=lambda item: (-item[1], item[0]))
    tags = [tag for tag, count in ordered if count >= min_count][:MAX_TAGS]
    for tag in speakers.keys() - set(tags):
        for word in words_of(tag):
            counts[word] += speakers[tag]
    return tags


def _tag_of(line: str) -> str:
    """Return `GANDALF:` for a line that begins with it and a space, else an empty string."""
    speaker, end, _ = line[:MAX_SPEAKER_CHARACTERS].partition(SPEAKER_END)
    return speaker + ":" if end and speaker.strip() and not any(ord(c) >= FIRST_MARK for c in speaker) else ""


def _too_few(counts: Counter[str], settings: DataSettings) -> str:
    if not counts:
        return "The training text holds no word of [a-z0-9']; use --set data.tokenizer=character or bpe."
    if max(counts.values()) < settings.min_count:
        return (
            f"No word of the training text occurs {settings.min_count} times; give more text, or "
            "--set data.min_count=1."
        )
    return f"A vocabulary of {settings.vocabulary_size} has no room for words; raise data.vocabulary_size."

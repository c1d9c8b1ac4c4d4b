"""A tokenizer for an imported model: the vocabulary that came with it, made to fit the rows of its embedding.

    longer than the embedding    cut                               a warning
    shorter                      filled with <extra_i>             a warning
    none                         token_0, token_1, ...             a warning: what it writes cannot be read

A vocabulary of single characters becomes a character tokenizer, any other one a word tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unrolled.text import CharacterTokenizer, Tokenizer
from unrolled.text.characters import UNKNOWN_TOKEN
from unrolled.text.words import WordTokenizer, words_of

FIRST_STAND_IN = 0x100000  # a plane for private use, which no text holds
MOST_SHOWN = 5
NEW_ROW = -1


@dataclass(frozen=True)
class Reconciled:
    """A tokenizer for a model, and what its user must know.

    Attributes:
        tokenizer: has as many entries as the model has rows, or one more.
        warnings: plain sentences.
        rows: the model's row for each of the tokenizer's entries; `NEW_ROW` for one that the model lacks. In the
            model's own order when none is given.
    """

    tokenizer: Tokenizer
    warnings: tuple[str, ...] = ()
    rows: tuple[int, ...] | None = None


def reconciled(words: Sequence[str] | None, size: int, source: str, characters: bool = False) -> Reconciled:
    """Fit a vocabulary to a model.

    Args:
        words: the vocabulary, distinct texts; None if there is no vocabulary.
        size: rows of the model's embedding, V.
        source: what the vocabulary's file is called, for the warnings.
        characters: the model's layout is one that people use for characters.
    """
    if words is None:
        return Reconciled(WordTokenizer([f"token_{index}" for index in range(size)]), (_placeholder(size),))
    warnings = _warnings_of_length(len(words), size, source)
    words = _of_length(_without_empty(words), size)
    if _are_characters(words, characters):
        return _character_tokenizer(words, warnings)
    return Reconciled(WordTokenizer(words), (*warnings, *_warnings_of_rule(words, source)))


def _placeholder(size: int) -> str:
    return (
        f"There was no vocabulary, so a placeholder of {size:,} entries stands in (token_0, token_1, ...): no word of "
        "a prompt is known, and what is written are numbers of words. Import the checkpoint again with --vocab FILE."
    )


def _warnings_of_length(found: int, size: int, source: str) -> tuple[str, ...]:
    if found == size:
        return ()
    done = (
        f"the last {found - size:,} were cut"
        if found > size
        else f"the missing {size - found:,} are called <extra_{found}> to <extra_{size - 1}>"
    )
    return (
        f"The vocabulary {source} has {found:,} entries and the model {size:,}: {done}. If what it writes makes no "
        "sense, the two are not from one training; import again with the right --vocab.",
    )


def _without_empty(words: Sequence[str]) -> list[str]:
    """Name the entry that is an empty text, as a tokenizer that splits at single spaces makes it."""
    return [word or f"<extra_{index}>" for index, word in enumerate(words)]


def _of_length(words: list[str], size: int) -> list[str]:
    taken, names = set(words), words[:size]
    for index in range(len(words), size):
        name = f"<extra_{index}>"
        names.append(name if name not in taken else f"<extra_{index}_{size}>")
    return names


def _are_characters(words: Sequence[str], likely: bool) -> bool:
    """Single characters, but for names in angle brackets; a word list never has the space among them."""
    rest = [word for word in words if not _is_name(word)]
    return bool(rest) and all(len(word) == 1 for word in rest) and (likely or " " in rest or "\n" in rest)


def _is_name(word: str) -> bool:
    return len(word) > 2 and word.startswith("<") and word.endswith(">")


def _character_tokenizer(words: Sequence[str], warnings: tuple[str, ...]) -> Reconciled:
    """Make every entry a character and `<unk>` the first one, adding it if it is missing."""
    names = [word for word in words if len(word) != 1 and word != UNKNOWN_TOKEN]
    stand_ins = {name: chr(FIRST_STAND_IN + index) for index, name in enumerate(names)}
    if names:
        shown = ", ".join(map(repr, names[:MOST_SHOWN])) + (" ..." if len(names) > MOST_SHOWN else "")
        warnings = (*warnings, f"Entries that are not characters ({shown}) are written as characters for private use.")
    unknown = words.index(UNKNOWN_TOKEN) if UNKNOWN_TOKEN in words else NEW_ROW
    rows = (unknown, *(index for index in range(len(words)) if index != unknown))
    singles = [stand_ins.get(words[row], words[row]) for row in rows[1:]]
    return Reconciled(CharacterTokenizer([UNKNOWN_TOKEN, *singles]), warnings, rows)


def _warnings_of_rule(words: Sequence[str], source: str) -> tuple[str, ...]:
    """Tell of words that no prompt can hold, as the tokenizer that the model was trained with is not the one here."""
    strange = [word for word in words if not _is_name(word) and words_of(word) != [word]]
    if not strange:
        return ()
    shown = ", ".join(map(repr, strange[:MOST_SHOWN])) + (" ..." if strange[MOST_SHOWN:] else "")
    return (
        f"{len(strange):,} entries of {source} can be written but not read ({shown}): prompts are lowercased and only "
        "a-z, 0-9 and ' are kept.",
    )

"""Looking through a pickle before anything is built from it.

A pickle is a program for a small stack machine. The instructions that build lists, dicts, texts and numbers are
harmless; those that name a Python object and call it are how a file runs code. Here the instructions are only read,
one by one, as https://docs.python.org/3/library/pickletools.html lists them: the first one that is not allowed ends it,
and so does their number. A file that passes can build no more than a few bytes for each of its own.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass

MOST_INSTRUCTIONS = 4_000_000  # a vocabulary of a million words takes two to four of them a word
MOST_DIGITS_BYTES = 16  # of an integer; more would be no id
MEMO_STORES = ("PUT", "BINPUT", "LONG_BINPUT")
PLAIN = """
    PROTO FRAME STOP MARK EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 INT LONG LONG1 BININT BININT1 BININT2
    MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET
"""


@dataclass(frozen=True)
class Rules:
    """What a pickle may hold.

    Attributes:
        instructions: names of the allowed ones, as `pickletools` calls them.
        names: says whether an object with this full name may be used.
        protocol: the only one that is allowed; any when none is given.
    """

    instructions: frozenset[str] = frozenset(PLAIN.split())
    names: Callable[[str], bool] = lambda name: False
    protocol: int | None = None


class NotPlain(ValueError):
    """A pickle holds more than it may; the text is a clause that follows the name of the file."""


def check_pickle(data: bytes, rules: Rules) -> None:
    """Read all instructions of a pickle and build nothing.

    Raises:
        NotPlain: one of them is not allowed, or they are damaged, too many, or claim impossible sizes.
    """
    texts: list[str] = []  # the last ones: a STACK_GLOBAL names an object by two of them
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(data)):
            if count >= MOST_INSTRUCTIONS:
                raise NotPlain(f"holds more than {MOST_INSTRUCTIONS:,} objects")
            _check_name(instruction.name, argument, texts, rules)
            _check_argument(instruction.name, argument, len(data), rules)
            if isinstance(argument, str):
                texts = [*texts[-1:], argument]
    except NotPlain:
        raise
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise NotPlain("is damaged or truncated") from error


def _check_name(instruction: str, argument: object, texts: list[str], rules: Rules) -> None:
    """Refuse the name of an object that may not be used, and every instruction that is not allowed."""
    if instruction in ("GLOBAL", "INST", "STACK_GLOBAL"):
        name = ".".join(texts) if instruction == "STACK_GLOBAL" else str(argument).replace(" ", ".")
        if instruction not in rules.instructions or not rules.names(name):
            raise NotPlain(f"holds a Python object ({name:.80}), and opening that could run any code")
    elif instruction not in rules.instructions:
        raise NotPlain(f"holds something that is no plain list, text or number (the pickle instruction {instruction})")


def _check_argument(instruction: str, argument: object, size_bytes: int, rules: Rules) -> None:
    """Refuse arguments that make the unpickler itself reserve memory without end."""
    if instruction == "PROTO" and rules.protocol not in (None, argument):
        raise NotPlain(f"was written with pickle protocol {argument}, not {rules.protocol} as PyTorch does")
    if instruction in MEMO_STORES and int(argument) > size_bytes:  # Python's unpickler makes a table of that length
        raise NotPlain("claims far more objects than it has room for")
    if isinstance(argument, int) and argument.bit_length() > 8 * MOST_DIGITS_BYTES:
        raise NotPlain("holds an absurdly large number")

"""Reading a pickle without the pickle library: plain containers, texts and numbers, and what the rules add.

A pickle is a program for a small stack machine (https://docs.python.org/3/library/pickletools.html lists its
instructions). Those that build lists, dicts, texts and numbers are harmless; those that name a Python object and call
it are how a file runs code. Here is such a machine with the harmless ones alone. A name stands for nothing but what a
table of the rules puts in its place, so there is nothing that a file could call.

What is checked and what is built are the same pass over the same instructions. Their number is bounded, and so is that
of the containers, which take far more memory than room in the file.
"""

from __future__ import annotations

import pickletools  # nosec B403 # only lists instructions
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from unrolled.importers.refusals import Damaged, NotPlain

MOST_INSTRUCTIONS = 4_000_000  # a vocabulary of a million words takes two to four of them a word
MOST_CONTAINERS = 500_000  # a tensor takes about ten of them; each is of one byte in the file and of 70 in memory
MOST_DIGITS_BYTES = 16  # of an integer; more would not be an id
MOST_ODD_KEYS = 1_000  # numbers can be chosen to collide in a dict, and each one then costs a look at all others
LARGEST_ID = 2**20
NAMING = frozenset({"GLOBAL", "INST", "STACK_GLOBAL"})
KEYS = (str, int, float, bool, type(None))  # the hash of a tuple in a tuple in a tuple takes for ever
PLAIN = """
    PROTO FRAME STOP MARK EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 INT LONG LONG1 BININT BININT1 BININT2
    MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET
"""


@dataclass(frozen=True)
class Maker:
    """Stands in the place of a function or class: what a pickle gets when it calls that."""

    make: Callable[..., Any]


@dataclass(frozen=True)
class Rules:
    """What a pickle may hold.

    Attributes:
        instructions: names of the allowed ones, as `pickletools` calls them.
        names: what each allowed name stands for, by module and name with a space between: a `Maker` or a value.
        outside: returns what a reference to something outside the pickle stands for.
        protocol: the only one that is allowed; any when none is given.
    """

    instructions: frozenset[str] = frozenset(PLAIN.split())
    names: Mapping[str, Any] = field(default_factory=dict)
    outside: Callable[[Any], Any] | None = None
    protocol: int | None = None


def read_pickle(data: bytes, rules: Rules) -> Any:
    """Return what a pickle builds.

    Raises:
        NotPlain: an instruction is not allowed, there are too many, or they claim impossible sizes.
        Damaged: they are cut off or fit together to nothing.
    """
    machine = _Machine(rules, len(data))
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(data), 1):
            if count > MOST_INSTRUCTIONS:
                raise NotPlain(f"holds more than {MOST_INSTRUCTIONS:,} objects")
            machine.run(instruction.name, argument, count)
        return machine.result()
    except NotPlain:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, DeprecationWarning) as error:
        # pickletools warns of a name with an odd backslash in it, which is an error where warnings are errors
        raise Damaged("is damaged or truncated") from error


class _Machine:
    """The stack, the stacks below it (one for each open MARK), and the objects that are remembered by number."""

    def __init__(self, rules: Rules, size_bytes: int) -> None:
        self.rules, self.size_bytes = rules, size_bytes
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.containers = 0

    def run(self, instruction: str, argument: Any, count: int) -> None:
        """Do what one instruction says; `count` is its place in the pickle."""
        if instruction in NAMING:
            self._name(instruction, argument)
        elif instruction not in self.rules.instructions:
            raise NotPlain(
                f"holds something other than lists, dicts, texts and numbers (the pickle instruction {instruction})"
            )
        elif instruction in _VALUES:
            self._push_value(argument)
        elif instruction in _STORES:
            self._remember(len(self.memo) if argument is None else argument, count)
        else:
            self._count(instruction)
            _STEPS[instruction](self, argument)

    def result(self) -> Any:
        """Return the one object that is left."""
        if len(self.stack) != 1 or self.below:
            raise Damaged("is damaged: its instructions do not fit together")
        return self.stack[0]

    def _name(self, instruction: str, argument: str | None) -> None:
        """Push what a name stands for."""
        name = argument
        if instruction == "STACK_GLOBAL":
            name = " ".join(str(part) for part in self.stack[-2:] if type(part) is str)
        if instruction != "GLOBAL" or instruction not in self.rules.instructions or name not in self.rules.names:
            shown = str(name).replace(" ", ".")
            raise NotPlain(f"holds a Python object ({shown:.80}), and opening that could run any code")
        self.stack.append(self.rules.names[name])

    def _count(self, instruction: str) -> None:
        self.containers += instruction in _CONTAINERS
        if self.containers > MOST_CONTAINERS:
            raise NotPlain(f"holds more than {MOST_CONTAINERS:,} lists, dicts and tuples")

    def _push_value(self, value: Any) -> None:
        if isinstance(value, int) and value.bit_length() > 8 * MOST_DIGITS_BYTES:
            raise NotPlain("holds an absurdly large number")
        self.stack.append(value)

    def _remember(self, number: int, count: int) -> None:
        if not 0 <= number <= count:  # other readers make a table of that length
            raise NotPlain("claims far more objects than it has room for")
        self.memo[number] = self.stack[-1]

    def protocol(self, number: int) -> None:
        if self.rules.protocol not in (None, number):
            raise NotPlain(f"was written with pickle protocol {number}, not {self.rules.protocol} as PyTorch does")

    def frame(self, size_bytes: int) -> None:
        """Pass over a hint for readers that read in blocks."""
        if size_bytes > self.size_bytes:
            raise Damaged("is damaged: it claims to be longer than it is")

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """Take off the stack what was pushed since the last MARK."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def last(self, count: int) -> list[Any]:
        """Take the last objects off the stack."""
        if len(self.stack) < count:
            raise IndexError("the stack is too short")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def recall(self, number: int) -> None:
        self.stack.append(self.memo[number])

    def make(self, kind: Callable[[list[Any]], Any], items: list[Any]) -> None:
        self.stack.append(kind(items))

    def make_dict(self, items: list[Any]) -> None:
        self.stack.append({})
        self.put(items)

    def append(self, items: list[Any]) -> None:
        _expect(list, self.stack[-1]).extend(items)

    def put(self, items: list[Any]) -> None:
        """Put keys and values, one after the other, into the dict on the stack."""
        target = _expect(dict, self.stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            _check_key(key, target)
            target[key] = value

    def call(self) -> None:
        maker, arguments = self.last(2)
        self.stack.append(_expect(Maker, maker).make(*_expect(tuple, arguments)))

    def pass_over_attributes(self) -> None:
        """Take the attributes of an ordered dict off the stack: nothing that is imported stands there."""
        (attributes,) = self.last(1)
        _expect(dict, attributes)
        _expect(dict, self.stack[-1])

    def refer(self) -> None:
        if self.rules.outside is None:
            raise NotPlain("refers to something outside the file")
        self.stack.append(self.rules.outside(*self.last(1)))


def _expect(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {kind.__name__} was expected")
    return value


def _check_key(key: Any, target: dict[Any, Any]) -> None:
    """Refuse a key that would take long to find, or that two readers could understand in two ways."""
    if type(key) not in KEYS:
        raise NotPlain(f"has a key that is not a text or a number, but a {type(key).__name__}")
    simple = type(key) is str or (type(key) is int and 0 <= key < LARGEST_ID)
    if not simple and len(target) >= MOST_ODD_KEYS:
        raise NotPlain(f"has a dict with more than {MOST_ODD_KEYS:,} numbers as keys that are not ids")
    if key in target:
        raise NotPlain(f"has a dict with the key {key!r:.60} twice")


VALUES = """
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 INT LONG LONG1 BININT BININT1 BININT2 BINFLOAT
"""
_VALUES = frozenset(VALUES.split())
_CONTAINERS = frozenset({"MARK", "EMPTY_LIST", "EMPTY_DICT", "LIST", "DICT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})
_STORES = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.protocol,
    "FRAME": _Machine.frame,
    "STOP": lambda machine, _: None,
    "MARK": lambda machine, _: machine.mark(),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "LIST": lambda machine, _: machine.make(list, machine.since_mark()),
    "TUPLE": lambda machine, _: machine.make(tuple, machine.since_mark()),
    "DICT": lambda machine, _: machine.make_dict(machine.since_mark()),
    "TUPLE1": lambda machine, _: machine.make(tuple, machine.last(1)),
    "TUPLE2": lambda machine, _: machine.make(tuple, machine.last(2)),
    "TUPLE3": lambda machine, _: machine.make(tuple, machine.last(3)),
    "APPEND": lambda machine, _: machine.append(machine.last(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.put(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.put(machine.since_mark()),
    "GET": _Machine.recall,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.pass_over_attributes(),
    "BINPERSID": lambda machine, _: machine.refer(),
}

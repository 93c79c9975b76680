"""Reads plain values and NumPy arrays from a pickle without running any of it.

A pickle is a program for a small machine, which may call anything. Here its instructions are looked
at one by one (pickletools, which has them described): what would call something only notes what and
with which arguments.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class PickleError(ValueError):
    """Not a pickle, or one of more than plain values; one line."""


@dataclass
class Made:
    """What a pickle would have made by a call: of what, from which arguments, with which state."""

    origin: str
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(frozen=True)
class _Global:
    origin: str


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read(content: bytes) -> Any:
    """The value that `content` holds: numbers, texts, lists, tuples, dictionaries, and `Made`.

    Strings of Python 2 come as text, a character a byte (Latin-1).

    Raises PickleError for what is no pickle, and for instructions that plain values do not need.
    """
    machine = _Machine()
    try:
        for instruction, argument, _ in pickletools.genops(content):
            if instruction.name == "STOP":
                return machine.pop()
            machine.step(instruction.name, argument)
    except PickleError:
        raise
    # Damaged bytes raise exceptions of many types, of pickletools and of the steps.
    except Exception as error:
        raise PickleError("not a pickle, or a damaged one") from error
    raise PickleError("a pickle without an end")


class _Machine:
    """The stack and the memory of a pickle's machine."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memory: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self._stack.append(_MARK),
            "POP": lambda _: self._stack.__delitem__(-1),
            "GLOBAL": lambda name: self._stack.append(_Global(name.replace(" ", "."))),
            "STACK_GLOBAL": lambda _: self._stack.append(_Global(".".join(self._last(2)))),
            "EMPTY_LIST": lambda _: self._stack.append([]),
            "EMPTY_DICT": lambda _: self._stack.append({}),
            "LIST": lambda _: self._stack.append(self._marked()),
            "DICT": lambda _: self._stack.append(_pairs(self._marked())),
            "TUPLE": lambda _: self._stack.append(tuple(self._marked())),
            "APPEND": lambda _: self._extend([self.pop()]),
            "APPENDS": lambda _: self._extend(self._marked()),
            "SETITEM": lambda _: self._update(self._last(2)),
            "SETITEMS": lambda _: self._update(self._marked()),
            "MEMOIZE": lambda _: self._remember(len(self._memory)),
            "REDUCE": lambda _: self._reduce(),
            "BUILD": lambda _: self._build(),
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._remember),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), self._recall),
            **dict.fromkeys(("PROTO", "FRAME"), lambda _: None),
        }

    def step(self, name: str, argument: Any) -> None:
        """Does what one instruction says."""
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._stack.append(tuple(self._last(_TUPLES[name])))
        elif name in self._steps:
            self._steps[name](argument)
        else:
            raise PickleError(f"the instruction {name}, which plain values do not need")

    def pop(self) -> Any:
        """Takes the value on top."""
        return self._stack.pop()

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _marked(self) -> list[Any]:
        """Takes what is above the last mark, and the mark."""
        taken: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def _remember(self, place: int) -> None:
        self._memory[place] = self._stack[-1]

    def _recall(self, place: int) -> None:
        self._stack.append(self._memory[place])

    def _extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise TypeError
        target.extend(values)

    def _update(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise TypeError
        target.update(_pairs(values))

    def _reduce(self) -> None:
        called, arguments = self._last(2)
        if not isinstance(called, _Global) or not isinstance(arguments, tuple):
            raise TypeError
        self._stack.append(Made(called.origin, arguments))

    def _build(self) -> None:
        state = self.pop()
        made = self._stack[-1]
        if not isinstance(made, Made):
            raise TypeError
        made.state = state


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))

"""Which function a block of a library's code belongs to, by the library's symbols."""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device_scripts.host.a57.blocks import Block
from device_scripts.host.a57.cycles import llvm
from runtime.core.errors import ShiftAddError


@dataclass(frozen=True)
class Share:
    """What a function, or another library, takes of a run.

    Attributes:
        name: of the function without its arguments, or the library's file name.
        instructions: how many ran.
        cycles: how many they take.
    """

    name: str
    instructions: int
    cycles: float


class Symbols:
    """The functions of a library, by where they begin."""

    def __init__(self, library: Path) -> None:
        """Raises ShiftAddError where llvm-nm is missing or finds no functions."""
        answer = llvm(["llvm-nm", "--demangle", "--defined-only", "--numeric-sort", str(library)])
        found = re.findall(r"^([0-9a-f]+) [tTwW] (.+)$", answer.stdout, re.MULTILINE)
        if not found:
            raise ShiftAddError(f"{library}: has no symbols, so that no function can be named")
        self._starts = [int(address, 16) for address, _ in found]
        self._names = [short(name) for _, name in found]

    def name(self, offset: int) -> str:
        """The function that has the instruction at this offset."""
        index = bisect.bisect_right(self._starts, offset) - 1
        return self._names[index] if index >= 0 else "?"


def short(name: str) -> str:
    """A function's name, with its class, without namespaces and arguments of any kind."""
    name = name.replace("(anonymous namespace)::", "").replace("operator()", "lambda")
    while re.search(r"<[^<>]*>", name):
        name = re.sub(r"<[^<>]*>", "", name)
    words = name.partition("(")[0].split()
    *outer, last = words[-1].split("::") if words else [name]
    return f"{outer[-1]}::{last}" if outer and outer[-1][:1].isupper() else last


def shares(weighed: Mapping[Block, float], library: str, symbols: Symbols) -> list[Share]:
    """The functions of our library, which has this file name and these symbols, and all other
    libraries as one each; the largest first."""
    instructions: dict[str, int] = defaultdict(int)
    cycles: dict[str, float] = defaultdict(float)
    for block, taken in weighed.items():
        own = Path(block.library).name == library
        name = symbols.name(block.offset) if own else Path(block.library).name.partition(".")[0]
        instructions[name] += block.instructions
        cycles[name] += taken
    ranked = sorted(cycles, key=lambda name: -cycles[name])
    return [Share(name, instructions[name], cycles[name]) for name in ranked]

"""The boards that something is built for: a folder each in device_scripts/boards.

A board's folder has `board.json`, read here, `toolchain.cmake`, which CMake builds the operator
library with, and `facts.sh`, which the scripts on the board read.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from runtime.core.errors import ShiftAddError

FOLDER = Path(__file__).resolve().parents[1] / "boards"
JETSON_NANO = "jetson-nano"


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes:
        name: of its folder; `make plugins BOARD=name`.
        title: what people call it.
        elf_machine: e_machine in the header of a library for it.
        page: the page that leads onto it, a path in the checkout.
    """

    name: str
    title: str
    elf_machine: int
    page: str

    @property
    def toolchain(self) -> Path:
        """CMake's description of its compiler."""
        return FOLDER / self.name / "toolchain.cmake"

    def cross_compiler(self) -> list[str]:
        """The C++ compiler's command as the toolchain has it, target and processor included."""
        arguments = re.search(r'COMPILER_ARG1\s*"([^"]*)"', self.toolchain.read_text())
        if arguments is None:
            raise ValueError(f"{self.toolchain}: does not set CMAKE_CXX_COMPILER_ARG1")
        return [os.environ.get("ZIG_PYTHON", sys.executable), *arguments.group(1).split()]


def names() -> list[str]:
    """The names of all boards."""
    return sorted(path.parent.name for path in FOLDER.glob("*/board.json"))


def find(name: str = JETSON_NANO) -> Board:
    """The board of this name. Raises ShiftAddError where there is none."""
    if name not in names():
        raise ShiftAddError(f"no board {name!r}; known boards: {', '.join(names())}")
    return Board(name=name, **json.loads((FOLDER / name / "board.json").read_text()))

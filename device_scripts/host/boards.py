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
from typing import Any

from runtime.core.errors import ShiftAddError, reason

FOLDER = Path(__file__).resolve().parents[1] / "boards"
JETSON_NANO = "jetson-nano"
_KEYS = {"title": str, "elf_machine": int, "page": str}


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
    """The names of all boards: of every folder, whether it is complete or not."""
    return sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def find(name: str = JETSON_NANO) -> Board:
    """The board of this name.

    Raises ShiftAddError where there is none, and for a board.json that is missing, is not JSON, or
    has not exactly the keys of a board with values of their types.
    """
    if name not in names():
        raise ShiftAddError(f"no board {name!r}; known boards: {', '.join(names())}")
    path = FOLDER / name / "board.json"
    return Board(name=name, **_checked(path, _read(path)))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ShiftAddError(f"{path}: cannot be read: {reason(error)}") from error


def _checked(path: Path, entries: Any) -> dict[str, Any]:
    if not isinstance(entries, dict):
        raise ShiftAddError(f"{path}: has to be a JSON object with {', '.join(_KEYS)}")
    for key, kind in _KEYS.items():
        if key not in entries:
            raise ShiftAddError(f"{path}: the key {key!r} is missing")
        if type(entries[key]) is not kind:
            raise ShiftAddError(f"{path}: {key!r} has to be of type {kind.__name__}")
    for key in entries:
        if key not in _KEYS:
            raise ShiftAddError(f"{path}: unknown key {key!r}; known keys: {', '.join(_KEYS)}")
    return entries

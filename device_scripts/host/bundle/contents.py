"""The files of a checkout that go to the device."""

from __future__ import annotations

import re
from pathlib import Path

from calibration.comparison.inputs import sample_photographs
from device_scripts.host.boards import Board
from device_scripts.host.bundle.archive import BundleError
from runtime.core.errors import reason

_PATTERNS = (
    "runtime/**/*.py",
    "plugins/CMakeLists.txt",
    "plugins/cmake/tensorrt.cmake",
    "plugins/exports_tensorrt.map",
    "plugins/include/**/*.h",
    "plugins/kernels/cuda/**/*",
    "plugins/tensorrt/**/*",
    "device_scripts/*.sh",
    "device_scripts/lib/*.sh",
    "device_scripts/board/*.py",
)

LIBRARY = "libshiftadd_ort.so"
_PHOTOGRAPH = "chelsea.png"


def patterns(board: Board) -> tuple[str, ...]:
    """What of a checkout the board gets; of each pattern there has to be a file.

    The operator library comes built; the plugins are built on the board, by its own CUDA and
    TensorRT.
    """
    return (*_PATTERNS, f"device_scripts/boards/{board.name}/*.sh", board.page)


def of_checkout(repository: Path, board: Board) -> dict[str, bytes]:
    """Contents by path below `repository`. Raises BundleError where something is missing."""
    contents = {}
    for pattern in patterns(board):
        files = [path for path in sorted(repository.glob(pattern)) if _is_source(path)]
        if not files:
            raise BundleError(f"{repository}: no {pattern} there: the checkout is not complete")
        for file in files:
            contents[file.relative_to(repository).as_posix()] = read(file)
    return contents


def _is_source(path: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts[-3:])
    return path.is_file() and not hidden


def library(path: Path, board: Board) -> dict[str, bytes]:
    """The operator library at `path`. Raises BundleError unless it is one for the board."""
    how = f"`make plugins BOARD={board.name}`"
    content = read(path, how)
    machine = int.from_bytes(content[18:20], "little")
    if content[:4] != b"\x7fELF" or machine != board.elf_machine:
        raise BundleError(f"{path}: no library for the {board.title}: build it with {how}")
    return {LIBRARY: content}


def photographs() -> dict[str, bytes]:
    """A picture to try the model with: Chelsea the cat, by Stefan van der Walt, CC0."""
    (path,) = [path for path in sample_photographs() if path.name == _PHOTOGRAPH]
    return {f"images/{_PHOTOGRAPH}": read(path)}


def version(repository: Path) -> str:
    """The toolchain's version in pyproject.toml. Raises BundleError."""
    project = repository / "pyproject.toml"
    found = re.search(r'^version = "([^"]+)"$', read(project).decode(), re.MULTILINE)
    if found is None:
        raise BundleError(f"{project}: has no version")
    return found[1]


def read(path: Path, how: str = "") -> bytes:
    """The content of `path`. Raises BundleError, which names the command that makes the file."""
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = f": write it with {how}" if how else ""
        raise BundleError(f"{path}: {reason(error)}{remedy}") from error

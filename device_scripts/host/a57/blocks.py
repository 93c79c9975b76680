"""The blocks of code that a model's run is made of, counted by a plugin of QEMU's (blocks.c)."""

from __future__ import annotations

import bisect
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device_scripts.host.a57 import system
from runtime.core.errors import ShiftAddError

_FOLDER = Path(__file__).parent
_TIMEOUT = 900  # seconds; a run takes about ten


@dataclass(frozen=True)
class Block:
    """Instructions that run one behind the other.

    Attributes:
        library: the file they are from; empty for code that a process has made itself.
        offset: of the first instruction, from where the library's file begins in memory.
        count: how often the block ran.
        code: the instructions, each as eight hexadecimal digits in the order of memory.
    """

    library: str
    offset: int
    count: int
    code: tuple[str, ...]

    @property
    def instructions(self) -> int:
        """How many instructions ran."""
        return self.count * len(self.code)


class Memory:
    """A process's memory map: which library an address is in."""

    def __init__(self, lines: Sequence[str]) -> None:
        """`lines` are those of /proc/self/maps."""
        starts: list[int] = []
        names: list[str] = []
        bases: list[int] = []
        first: dict[str, int] = {}
        for line in lines:
            span, *_, name = [*line.split(maxsplit=5), ""][:6]
            start = int(span.partition("-")[0], 16)
            path = name.strip() if name.startswith("/") else ""
            starts.append(start)
            names.append(path)
            bases.append(first.setdefault(path, start) if path else start)
        self._starts, self._names, self._bases = starts, names, bases

    def place(self, address: int) -> tuple[str, int]:
        """The library's path and the address's offset in it."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return "", address
        return self._names[index], address - self._bases[index]


def count(
    model: Path, library: Path | None, folder: Path, packages: Sequence[str] = system.WHEELS
) -> list[Block]:
    """Runs a model on the emulated processor and gives the blocks of one warm run.

    Args:
        model: a file of ONNX Runtime's or LiteRT's.
        library: of our operators, for the board.
        folder: for files that are needed meanwhile.
        packages: the engine and NumPy, as system.python takes them.

    Raises ShiftAddError where the plugin cannot be built or the engine fails.
    """
    counts = folder / "blocks.txt"
    counts.unlink(missing_ok=True)
    plugin = f"file={_plugin(folder)},out={counts}"
    command = [*system.python("-plugin", plugin, packages=packages), str(_FOLDER / "child.py")]
    command += [str(model), *([str(library)] if library else [])]
    answer = _run(command)
    memory = Memory(answer.splitlines())
    return [_block(line, memory) for line in counts.read_text().splitlines()]


def _block(line: str, memory: Memory) -> Block:
    address, times, code = line.split()
    words = tuple(code[i : i + 8] for i in range(0, len(code), 8))
    return Block(*memory.place(int(address, 16)), int(times, 16), words)


def _plugin(folder: Path) -> Path:
    built = folder / "libblocks.so"
    if not built.is_file():
        flags = ["-std=gnu11", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
        _run(["cc", *flags, str(_FOLDER / "blocks.c"), "-o", str(built)])
    return built


def _run(command: Sequence[str]) -> str:
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except FileNotFoundError:
        raise ShiftAddError(f"no {command[0]}; install it (Debian: apt-get install gcc)") from None
    except subprocess.TimeoutExpired:
        raise ShiftAddError(f"{command[0]}: no end after {_TIMEOUT} s") from None
    if answer.returncode != 0:
        said = (answer.stderr.strip() or answer.stdout.strip() or "no output").splitlines()
        raise ShiftAddError(f"{command[0]} fails with code {answer.returncode}: {said[-1]}")
    return answer.stdout

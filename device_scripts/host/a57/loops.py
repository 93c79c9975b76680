"""Cycles of the NEON kernels' inner loops on a Cortex-A57, by llvm-mca's model of it.

    python -m device_scripts.host.a57.loops

The loops are taken from the assembly of the compiler that the library is built with
(device_scripts/boards/jetson-nano/toolchain.cmake). A term is a product or an absolute difference;
loads and loop overhead count as cycles, caches do not: the model finds all data in the first level.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from device_scripts.host import boards
from device_scripts.host.a57.cycles import mca
from runtime.console.commandline import FINE, Parser, leave
from runtime.core.errors import ShiftAddError

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
ITERATIONS = 500


@dataclass(frozen=True)
class Loop:
    """One kernel's inner loop.

    Attributes:
        kernel: its row's name.
        source: file in plugins/kernels/cpu.
        function: regular expression for the mangled name.
        instruction: that takes `lanes` terms.
        ceiling: terms a cycle that the vector pipes allow (shared facts of the Cortex-A57).
    """

    kernel: str
    source: str
    function: str
    instruction: str
    lanes: int
    ceiling: float


_FLOAT, _INTEGER = "float/micro_kernels_neon", "integer/micro_kernels_neon"
LOOPS = (
    Loop(
        "ShiftConv fp32",
        _FLOAT,
        r"conv_tile.*ShiftTerm.*Lm4ELm4E",
        "fmla",
        4,
        4,
    ),
    Loop(
        "AdderConv fp32",
        _FLOAT,
        r"conv_tile.*AdderTerm.*Lm4ELm4E",
        "fabd",
        4,
        2,
    ),
    Loop(
        "QLinearShiftConv",
        _INTEGER,
        r"ShiftTileILm1ELm4E",
        "smlal2?|smull2?",
        8,
        8,
    ),
    Loop("QLinearAdderConv", _INTEGER, r"AdderTileILm1ELm8E", "uabd", 16, 16),
)


class BenchError(ShiftAddError):
    """What cannot be measured, in one line."""


def inner_loop(assembly: str, function: str, instruction: str) -> list[str]:
    """Instructions of the loop of `function` that has most of `instruction`, its branch included.

    Raises BenchError where there is no such function, or no such loop in it.
    """
    bodies = re.findall(r"^(_Z\w+):[^\n]*\n(.*?)^\.Lfunc_end", assembly, re.MULTILINE | re.DOTALL)
    matching = [body for name, body in bodies if re.search(function, name)]
    if len(matching) != 1:
        raise BenchError(f"{function}: expected 1 function of that name, found {len(matching)}")
    loops = [loop for loop in _loops(matching[0]) if _count(loop, instruction)]
    if not loops:
        raise BenchError(f"{function}: found no loop with {instruction}")
    return max(loops, key=lambda loop: _count(loop, instruction))


def _loops(body: str) -> list[list[str]]:
    """The blocks of a function that branch back to their own beginning."""
    parts = re.split(r"^(\.LBB\w+):.*$", body, flags=re.MULTILINE)
    loops = []
    for label, block in zip(parts[1::2], parts[2::2], strict=True):
        lines = [line.partition("//")[0].strip() for line in block.splitlines()]
        code = [line for line in lines if line and not line.startswith(".")]
        ends = [i for i, line in enumerate(code) if re.search(re.escape(label) + r"$", line)]
        if ends:
            loops.append(code[: ends[-1] + 1])
    return loops


def _count(loop: Sequence[str], instruction: str) -> int:
    return sum(bool(re.match(rf"({instruction})\s", line)) for line in loop)


def cycles(loop: Sequence[str]) -> float:
    """Cycles an iteration, by llvm-mca. Raises ShiftAddError where it fails."""
    code = [re.sub(r"\.LBB\w+", "again", line) for line in loop]
    return mca([["again:", *code]], ITERATIONS)[0]


def compile_to_assembly(source: str, folder: Path) -> str:
    """Assembly of plugins/kernels/cpu/SOURCE.cpp. Raises BenchError where it does not compile."""
    out = folder / f"{source.replace('/', '_')}.s"
    command = [
        *boards.find().cross_compiler(),
        "-std=c++14",
        "-O3",
        "-DNDEBUG",
        "-fPIC",
        "-ffp-contract=off",
    ]
    command += ["-fno-trapping-math", "-fno-sanitize=all", "-g0", "-S"]
    kernels = PLUGINS / "kernels" / "cpu"
    command += [f"-I{PLUGINS / 'include'}", f"-I{kernels}", str(kernels / f"{source}.cpp")]
    answer = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise BenchError(f"{source}.cpp does not compile: {answer.stderr.strip()}")
    return out.read_text()


def table(loops: Sequence[Loop] = LOOPS) -> list[str]:
    """The lines of a Markdown table, a row a loop."""
    rows = [
        "| inner loop | terms a step | cycles a step | terms a cycle | ceiling | share |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        sources = sorted({loop.source for loop in loops})
        bar = tqdm(sources, desc="assembly", disable=not sys.stderr.isatty())
        assembly = {source: compile_to_assembly(source, Path(name)) for source in bar}
    for loop in loops:
        code = inner_loop(assembly[loop.source], loop.function, loop.instruction)
        terms, step = loop.lanes * _count(code, loop.instruction), cycles(code)
        rate = terms / step
        rows.append(
            f"| {loop.kernel} | {terms} | {step:.1f} | {rate:.2f} | {loop.ceiling:g} "
            f"| {rate / loop.ceiling:.0%} |"
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Raises BenchError."""
    parser = Parser(
        prog="python -m device_scripts.host.a57.loops", description=__doc__.splitlines()[0]
    )
    parser.parse_args(argv)
    if shutil.which("llvm-mca") is None:
        raise BenchError("no llvm-mca; on Debian and Ubuntu: apt-get install llvm")
    print("\n".join(table()))
    return FINE


if __name__ == "__main__":
    leave(main)

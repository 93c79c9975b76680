"""Cycles of blocks of code on a Cortex-A57, by llvm-mca's model of it.

A block is weighed repeated against itself. Left out are caches, memory, mispredicted branches, and
that one block overlaps with the next: the same program has the same number on every machine with
this LLVM.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence

from device_scripts.host.a57.blocks import Block
from runtime.core.errors import ShiftAddError

SHARE = 0.995
"""Blocks are weighed, the hottest first, until they have this share of the instructions; the rest
is taken to run at their mean rate."""


def weigh(blocks: Sequence[Block]) -> dict[Block, float]:
    """Cycles of each block in all its runs, of the hottest blocks; ShiftAddError without LLVM."""
    hottest = _hottest(blocks)
    texts = disassemble({word for block in hottest for word in block.code})
    regions = [[line for word in block.code for line in simplify(texts[word])] for block in hottest]
    weighed = zip(hottest, mca(regions), strict=True)
    return {block: cycles * block.count for block, cycles in weighed}


def total(blocks: Sequence[Block], weighed: dict[Block, float]) -> float:
    """Cycles of all blocks: those that were not weighed run at the mean rate of the others."""
    instructions = sum(block.instructions for block in weighed)
    share = instructions / sum(block.instructions for block in blocks)
    return sum(weighed.values()) / share


def _hottest(blocks: Sequence[Block]) -> list[Block]:
    ranked = sorted(blocks, key=lambda block: (-block.instructions, block.library, block.offset))
    wanted = SHARE * sum(block.instructions for block in ranked)
    kept, reached = [], 0
    for block in ranked:
        if reached >= wanted:
            break
        kept.append(block)
        reached += block.instructions
    return kept


def disassemble(words: Iterable[str]) -> dict[str, str]:
    """The text of instructions by their code; `nop` for one that LLVM does not know."""
    ordered = sorted(set(words))
    code = "\n".join(" ".join(f"0x{word[i : i + 2]}" for i in range(0, 8, 2)) for word in ordered)
    answer = llvm(["llvm-mc", "--disassemble", "-triple=aarch64", "-mattr=+v8.2a"], code)
    unknown = {
        int(line) - 1
        for line in re.findall(r"^<stdin>:(\d+):\d+: warning: invalid", answer.stderr, re.MULTILINE)
    }
    lines = (line.strip() for line in answer.stdout.splitlines())
    texts = iter([line for line in lines if line and not line.startswith(".")])
    return {word: "nop" if index in unknown else next(texts) for index, word in enumerate(ordered)}


_MEMORY = re.compile(r"^((?:ld|st|prfm)\S*\s.*)\[(\w+)(?:, (#-?\w+))?\](!|, (#?-?\w+))?$")


def simplify(instruction: str) -> Iterator[str]:
    """An instruction as llvm-mca models it best.

    The write-back of an address becomes an addition of its own: llvm-mca would have the address
    wait for the data. Calls and returns become the branches that they are; llvm-mca takes a call
    for a hundred cycles.
    """
    text = " ".join(instruction.split())
    name, _, rest = text.partition(" ")
    branches = {"bl": f"b {rest}", "blr": f"br {rest}", "ret": f"br {rest or 'x30'}"}
    found = _MEMORY.match(text)
    if name in branches:
        yield branches[name]
    elif found is None or found[4] is None:
        yield text
    elif found[4] == "!":
        yield f"add {found[2]}, {found[2]}, {found[3]}"
        yield f"{found[1]}[{found[2]}]"
    else:
        yield f"{found[1]}[{found[2]}]"
        yield f"add {found[2]}, {found[2]}, {found[5]}"


def mca(regions: Sequence[Sequence[str]], iterations: int = 100) -> list[float]:
    """Cycles of one run of each piece of code, repeated against itself.

    Raises ShiftAddError where llvm-mca is missing, or does not understand an instruction.
    """
    lines: list[str] = []
    for index, region in enumerate(regions):
        lines += [f"# LLVM-MCA-BEGIN {index}", *region, f"# LLVM-MCA-END {index}"]
    command = ["llvm-mca", "-mtriple=aarch64", "-mcpu=cortex-a57", f"-iterations={iterations}"]
    command += ["-resource-pressure=false", "-instruction-info=false"]
    answer = llvm(command, "\n".join(lines) + "\n")
    totals = re.findall(r"^Total Cycles:\s+(\d+)", answer.stdout, re.MULTILINE)
    if answer.returncode != 0 or len(totals) != len(regions):
        first = answer.stderr.strip().partition("\n")[0]
        raise ShiftAddError(f"llvm-mca: {len(totals)} of {len(regions)} blocks weighed: {first}")
    return [int(cycles) / iterations for cycles in totals]


def llvm(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Runs one of LLVM's programs with `text` as its input; ShiftAddError where it is missing."""
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ShiftAddError(
            f"no {command[0]}; on Debian and Ubuntu: apt-get install llvm"
        ) from None

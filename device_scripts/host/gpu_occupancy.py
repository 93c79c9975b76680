"""The resources that the CUDA kernels take of a GPU: registers, shared memory, spills, and the
warps that fit.

    python -m device_scripts.host.gpu_occupancy [--out FOLDER]

Each source of plugins/kernels/cuda that launches kernels is compiled as it is, by NVIDIA's own
compiler (NVRTC, then ptxas -v), for the Jetson Nano (sm_53), Xavier (sm_72) and Orin (sm_87).
Stand-ins replace the headers of its host code (device_scripts/host/nvrtc_headers), so the kernels
are those that the source launches. The command prints a table and writes it to
build/reports/gpu-occupancy, with the numbers as JSON. No GPU is needed.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from device_scripts.host import nvidia, nvrtc
from runtime.console.commandline import FINE, Parser, leave
from runtime.core.errors import ShiftAddError
from runtime.core.files import replace
from runtime.core.places import ROOT

REPOSITORY = Path(ROOT)
KERNELS = REPOSITORY / "plugins" / "kernels" / "cuda"
HEADERS = Path(__file__).with_name("nvrtc_headers")
INCLUDES = [HEADERS, KERNELS, REPOSITORY / "plugins" / "include"]

FLOOR_WARPS = 8
"""The least number of warps that have to fit on a multiprocessor: two for each of its four
schedulers. An addition takes 6 cycles on the Nano's, and a thread of a dense kernel has at least 16
sums that do not wait for each other. So more warps could only hide the loads of the next slice."""

WARP = 32
_REGISTER_UNIT = 256
_SCHEDULERS = 4


class OccupancyError(ShiftAddError):
    """What cannot be measured, in one line."""


@dataclass(frozen=True)
class Architecture:
    """Limits of a multiprocessor, by the CUDA C++ Programming Guide 12.9, "Technical Specifications
    per Compute Capability". Registers are of 32 bits, shared memory is in bytes.

    Attributes:
        capability: 53 for 5.3.
        shared: the shared memory of a multiprocessor.
        shared_unit: what a block's shared memory is a multiple of.
        shared_reserved: what the system takes of each block's shared memory.
    """

    capability: int
    board: str
    threads: int
    blocks: int
    registers: int
    block_registers: int
    shared: int
    shared_unit: int
    shared_reserved: int

    @property
    def name(self) -> str:
        """The architecture's name for ptxas."""
        return f"sm_{self.capability}"

    @property
    def warps(self) -> int:
        """The most warps that can be resident."""
        return self.threads // WARP


ARCHITECTURES = (
    Architecture(53, "Jetson Nano", 2048, 32, 65536, 32768, 64 * 1024, 256, 0),
    Architecture(72, "Xavier", 2048, 32, 65536, 65536, 96 * 1024, 256, 0),
    Architecture(87, "Orin", 1536, 16, 65536, 65536, 164 * 1024, 128, 1024),
)
BLOCK_SHARED = 48 * 1024
"""The most shared memory that a block may declare, on each of the architectures."""
LARGEST_BLOCK = 1024


@dataclass(frozen=True)
class Kernel:
    """What one kernel takes on one architecture.

    Attributes:
        threads: a block's, by the launch bounds; LARGEST_BLOCK for a kernel without any, for which
            the compiler has to expect as many.
        shared: bytes a block.
        spills: bytes stored and loaded by a thread for want of registers.
        warps: resident on a multiprocessor.
    """

    name: str
    architecture: str
    threads: int
    registers: int
    shared: int
    spills: int
    warps: int
    most_warps: int


def resident_warps(a: Architecture, threads: int, registers: int, shared: int) -> int:
    """Warps of a kernel's blocks that fit on a multiprocessor; 0 where not even one block does.

    Args:
        threads: a block's.
        registers: a thread's.
        shared: a block's, in bytes.
    """
    block_warps = -(-threads // WARP)
    warp_registers = max(_round_up(registers * WARP, _REGISTER_UNIT), _REGISTER_UNIT)
    if warp_registers * _round_up(block_warps, _SCHEDULERS) > a.block_registers:
        return 0
    # Every scheduler has a quarter of the registers to itself.
    register_warps = a.registers // _SCHEDULERS // warp_registers * _SCHEDULERS
    limits = [a.blocks, a.warps // block_warps, register_warps // block_warps]
    block_shared = _round_up(shared + a.shared_reserved, a.shared_unit)
    if block_shared:
        limits.append(a.shared // block_shared)
    return min(limits) * block_warps


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def sources() -> list[Path]:
    """The files that launch kernels. Raises OccupancyError where there are none."""
    found = [path for path in sorted(KERNELS.glob("*.cu")) if '"launch.h"' in path.read_text()]
    if not found:
        raise OccupancyError(f"{KERNELS}: no source there launches kernels")
    return found


def measure(source: Path, architecture: Architecture) -> list[Kernel]:
    """Every kernel of a source on an architecture, by name. Raises ShiftAddError."""
    ptx = nvrtc.compile_to_ptx(source, architecture.capability, INCLUDES)
    threads = block_sizes(ptx)
    kernels = [
        Kernel(
            name=readable(entry),
            architecture=architecture.name,
            threads=threads[entry],
            registers=registers,
            shared=shared,
            spills=spills,
            warps=resident_warps(architecture, threads[entry], registers, shared),
            most_warps=architecture.warps,
        )
        for entry, registers, shared, spills in read_ptxas(assemble(ptx, architecture))
    ]
    if {readable(entry) for entry in threads} != {kernel.name for kernel in kernels}:
        raise OccupancyError(f"{source.name}: ptxas does not report each kernel of the PTX once")
    return sorted(kernels, key=lambda kernel: kernel.name)


def block_sizes(ptx: str) -> dict[str, int]:
    """Threads a block by the kernel's name in the PTX."""
    entries = re.findall(r"\.entry (\w+)\(.*?\)([^{]*)\{", ptx, re.DOTALL)
    bounds = {name: re.search(r"\.maxntid (\d+)", directives) for name, directives in entries}
    return {name: int(found[1]) if found else LARGEST_BLOCK for name, found in bounds.items()}


def assemble(ptx: str, architecture: Architecture) -> str:
    """What `ptxas -v` says of the PTX. Raises OccupancyError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernels.ptx"
        file.write_text(ptx)
        command = [str(nvidia.ptxas()), "-v", f"-arch={architecture.name}", str(file)]
        answer = subprocess.run(
            [*command, "-o", str(file.with_suffix(".cubin"))],
            capture_output=True,
            text=True,
            check=False,
        )
    if answer.returncode != 0:
        raise OccupancyError(f"ptxas fails: {answer.stderr.strip().partition(chr(10))[0]}")
    return answer.stderr


_REPORT = re.compile(
    r"Compiling entry function '(?P<entry>\w+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


def read_ptxas(text: str) -> list[tuple[str, int, int, int]]:
    """(entry, registers, bytes of shared memory, bytes of spills) of each kernel."""
    kernels = []
    for found in _REPORT.finditer(text):
        shared = re.search(r"(\d+) bytes smem", found["rest"])
        spills = int(found["stores"]) + int(found["loads"])
        kernels.append(
            (found["entry"], int(found["registers"]), int(shared[1]) if shared else 0, spills)
        )
    return kernels


def readable(entry: str) -> str:
    """A mangled kernel's name with its template arguments, without namespaces and parameters."""
    library = ctypes.CDLL("libstdc++.so.6")
    library.__cxa_demangle.restype = ctypes.c_void_p
    status = ctypes.c_int()
    text = library.__cxa_demangle(entry.encode(), None, None, ctypes.byref(status))
    if not text:
        return entry
    name = ctypes.string_at(text).decode()
    ctypes.CDLL(None).free(ctypes.c_void_p(text))
    return re.sub(r"\(.*", "", name.replace("shiftadd::cuda::", "")).removeprefix("void ")


def measure_all() -> list[Kernel]:
    """Every kernel on every architecture. Raises ShiftAddError."""
    jobs = [(source, architecture) for architecture in ARCHITECTURES for source in sources()]
    with ThreadPoolExecutor() as pool:
        done = pool.map(lambda job: measure(*job), jobs)
        bar = tqdm(done, total=len(jobs), desc="kernels", disable=not sys.stderr.isatty())
        return [kernel for kernels in bar for kernel in kernels]


def table(kernels: Sequence[Kernel]) -> list[str]:
    """The lines of a Markdown table with a row for each kernel and ARCHITECTURES side by side."""
    names = [architecture.name for architecture in ARCHITECTURES]
    head = ["kernel", "threads a block", "shared memory, bytes"]
    for name in names:
        head += [f"{name}: registers", "spilled bytes", "warps resident"]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    found = {(kernel.name, kernel.architecture): kernel for kernel in kernels}
    for kernel in kernels:
        if kernel.architecture != names[0]:
            continue
        cells = [f"`{kernel.name}`", str(kernel.threads), str(kernel.shared)]
        for name in names:
            k = found[kernel.name, name]
            share = f"{k.warps} of {k.most_warps} ({k.warps / k.most_warps:.0%})"
            cells += [str(k.registers), str(k.spills), share]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def report(kernels: Sequence[Kernel]) -> str:
    """The whole report as Markdown."""
    boards = ", ".join(f"{a.name} ({a.board})" for a in ARCHITECTURES)
    return "\n".join(
        [
            f"Kernels of plugins/kernels/cuda on {boards}, compiled by NVRTC {nvrtc.version()}. A "
            f"kernel without launch bounds has {LARGEST_BLOCK} threads a block here. The tests "
            f"hold every kernel to at least {FLOOR_WARPS} resident warps a multiprocessor, to no "
            f"spills on {ARCHITECTURES[0].name} and to {BLOCK_SHARED // 1024} KiB of shared memory "
            "a block.",
            "",
            *table(kernels),
            "",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Raises ShiftAddError."""
    parser = Parser(
        prog="python -m device_scripts.host.gpu_occupancy", description=__doc__.splitlines()[0]
    )
    default = REPOSITORY / "build" / "reports" / "gpu-occupancy"
    parser.add_argument(
        "--out", type=Path, default=default, metavar="FOLDER", help="where the report is written"
    )
    options = parser.parse_args(argv)
    kernels = measure_all()
    text = report(kernels)
    numbers = json.dumps([asdict(kernel) for kernel in kernels], indent=1) + "\n"
    replace(options.out / "occupancy.md", text.encode(), "report")
    replace(options.out / "occupancy.json", numbers.encode(), "report")
    print(text, end="")
    return FINE


if __name__ == "__main__":
    leave(main)

"""The CUDA kernels' device code, for GPUs that are not here: it compiles, and what it takes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from device_scripts.host import gpu_occupancy, nvidia, nvrtc
from device_scripts.host.gpu_occupancy import (
    ARCHITECTURES,
    BLOCK_SHARED,
    FLOOR_WARPS,
    KERNELS,
    Kernel,
)
from runtime.console.commandline import FINE
from tests.support.toolchains import nvidia as nvidia_packages
from tests.support.toolchains.cpp_programs import CXX, REPOSITORY, SANITIZED, run

NANO = ARCHITECTURES[0]


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    """What every kernel takes on every architecture."""
    nvidia_packages.nvrtc_library()
    return gpu_occupancy.measure_all()


def test_the_architectures_are_those_of_the_boards() -> None:
    assert [a.name for a in ARCHITECTURES] == ["sm_53", "sm_72", "sm_87"]


def test_every_architecture_has_the_kernels_that_the_host_code_launches(
    kernels: list[Kernel], tmp_path: Path
) -> None:
    launched = host_instantiations(tmp_path)
    assert len(launched) == len(set(launched))
    for architecture in ARCHITECTURES:
        names = [kernel.name for kernel in kernels if kernel.architecture == architecture.name]
        assert sorted(names) == sorted(launched)


def host_instantiations(folder: Path) -> list[str]:
    """The kernels in the objects of a build for the host, where each of them is a function."""
    headers = [
        REPOSITORY / "tests" / "plugins" / "cpp" / "cuda",
        REPOSITORY / "plugins" / "include",
        KERNELS,
    ]
    symbols: list[str] = []
    for source in gpu_occupancy.sources():
        built = folder / f"{source.stem}.o"
        command = [*shlex.split(CXX), "-std=c++14", "-x", "c++", "-c", str(source), "-o"]
        run([*command, str(built), *(f"-I{header}" for header in headers)])
        # T and W are functions; a kernel's shared memory is a symbol of another kind.
        symbols += re.findall(r"^\w+ [TW] (\w+)$", run(["nm", str(built)]), re.MULTILINE)
    names = declared_kernels()
    readable = (gpu_occupancy.readable(symbol) for symbol in symbols)
    return [name for name in readable if name.partition("<")[0] in names]


def declared_kernels() -> set[str]:
    """Names of the __global__ functions of the sources."""
    code = "\n".join(path.read_text() for path in sorted(KERNELS.glob("*.cu*")))
    return set(re.findall(r"__global__ void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\(", code))


def test_every_kernel_of_the_sources_is_measured(kernels: list[Kernel]) -> None:
    assert {kernel.name.partition("<")[0] for kernel in kernels} == declared_kernels()


def test_nothing_spills_on_the_nano(kernels: list[Kernel]) -> None:
    spilling = {k.name: k.spills for k in kernels if k.architecture == NANO.name and k.spills}
    assert spilling == {}


def test_shared_memory_of_a_block(kernels: list[Kernel]) -> None:
    assert max(kernel.shared for kernel in kernels) > 0
    assert [kernel.name for kernel in kernels if kernel.shared > BLOCK_SHARED] == []


def test_every_kernel_reaches_the_floor_of_the_report(kernels: list[Kernel]) -> None:
    assert FLOOR_WARPS >= 8
    low = {(k.name, k.architecture): k.warps for k in kernels if k.warps < FLOOR_WARPS}
    assert low == {}


def test_the_command_writes_its_report(
    kernels: list[Kernel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_occupancy, "measure_all", lambda: kernels)
    assert gpu_occupancy.main(["--out", str(tmp_path / "report")]) == FINE
    rows = re.findall(r"^\| `(.+)` \|", (tmp_path / "report" / "occupancy.md").read_text(), re.M)
    assert rows == [kernel.name for kernel in kernels if kernel.architecture == NANO.name]
    numbers = json.loads((tmp_path / "report" / "occupancy.json").read_text())
    assert [Kernel(**entry) for entry in numbers] == kernels


TOY = """
__global__ void __launch_bounds__({threads}) toy(const float* x, float* y) {{
  __shared__ float line[{shared}];
  float values[{values}];
#pragma unroll
  for (int i = 0; i < {values}; ++i) values[i] = x[i * {threads} + threadIdx.x];
  line[threadIdx.x % {shared}] = values[0];
  __syncthreads();
  float sum = line[(threadIdx.x + 1) % {shared}];
#pragma unroll 1
  for (int step = 0; step < 9; ++step) {{
#pragma unroll
    for (int i = 0; i < {values}; ++i) values[i] = values[i] * values[(i + 7) % {values}] + sum;
  }}
#pragma unroll
  for (int i = 0; i < {values}; ++i) sum += values[i];
  y[threadIdx.x] = sum;
}}
void launch_it() {{ void (*volatile kernel)(const float*, float*) = toy; (void)kernel; }}
"""


def toy(folder: Path, threads: int, shared: int, values: int) -> Kernel:
    """What a kernel with so many live values and floats of shared memory takes on the Nano."""
    nvidia_packages.ptxas()
    source = folder / "toy.cu"
    source.write_text(TOY.format(threads=threads, shared=shared, values=values))
    (kernel,) = gpu_occupancy.measure(source, NANO)
    return kernel


@pytest.mark.slow
def test_spills_are_seen(tmp_path: Path) -> None:
    small, large = toy(tmp_path, 1024, 100, 8), toy(tmp_path, 1024, 100, 60)
    assert (small.spills, large.registers) == (0, 32)
    assert large.spills > 0


@pytest.mark.slow
def test_what_is_read_of_a_kernel(tmp_path: Path) -> None:
    kernel = toy(tmp_path, 96, 5000, 8)
    assert (kernel.name, kernel.architecture) == ("toy", "sm_53")
    assert (kernel.threads, kernel.shared, kernel.spills) == (96, 20000, 0)
    assert 8 <= kernel.registers < 64
    assert (kernel.warps, kernel.most_warps) == (9, 64)  # three blocks, by their shared memory


def test_a_kernel_without_launch_bounds_has_the_largest_block() -> None:
    ptx = ".visible .entry free(\n.param .u64 a\n)\n{\nret;\n}\n"
    ptx += ".visible .entry bound(\n.param .u64 a\n)\n.maxntid 64, 1, 1\n{\nret;\n}\n"
    assert gpu_occupancy.block_sizes(ptx) == {"free": 1024, "bound": 64}


@pytest.mark.slow
def test_the_first_error_of_a_source_is_said_in_one_line(tmp_path: Path) -> None:
    nvidia_packages.nvrtc_library()
    source = tmp_path / "broken.cu"
    source.write_text("__global__ void broken() { nonsense(); }\n")
    with pytest.raises(
        nvrtc.CompileError, match=r'compute_53: broken.cu\(1\): error: .*"nonsense"'
    ):
        gpu_occupancy.measure(source, NANO)


def test_a_missing_package_is_said_with_its_remedy() -> None:
    with pytest.raises(nvidia.MissingPackageError, match="no-such-package is not installed: "):
        nvidia.packaged("no-such-package", "file")
    with pytest.raises(nvidia.MissingPackageError, match="pytest has no no/such/file"):
        nvidia.packaged("pytest", "no/such/file")


@pytest.mark.slow
def test_occupancy_is_that_of_nvidias_calculator(tmp_path: Path) -> None:
    """cuda_occupancy.h, for kernels of every size and for those at the edges of what fits."""
    rng = np.random.default_rng()
    cases = [
        (a, int(rng.integers(1, 1025)), int(rng.integers(1, 256)), int(rng.choice([0, shared])))
        for a in ARCHITECTURES
        for shared in rng.integers(0, BLOCK_SHARED + 1, 2000)
    ]
    lines = (
        f"{a.capability} {a.threads} {a.registers} {a.block_registers} {a.shared} "
        f"{a.shared_reserved} {threads} {registers} {shared}"
        for a, threads, registers, shared in cases
    )
    program = tmp_path / "occupancy"
    source = REPOSITORY / "tests" / "plugins" / "cpp" / "occupancy.cpp"
    flags = ["-std=c++14", *shlex.split(SANITIZED.flags), "-Wall", "-Wextra", "-Werror"]
    flags.append(f"-isystem{nvidia_packages.cuda_include()}")
    run([*shlex.split(CXX), *flags, str(source), "-o", str(program)])
    answer = subprocess.run(
        [program], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    expected = [int(line) for line in answer.stdout.split()]
    assert [gpu_occupancy.resident_warps(*case) for case in cases] == expected
    assert 0 in expected


@pytest.mark.slow
def test_the_machines_nvcc_compiles_the_sources(tmp_path: Path) -> None:
    """For the oldest GPU that it knows and, where it does, for the boards'."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc here: the sources are compiled by NVRTC only")
    known = re.findall(r"sm_(\d+)", run([nvcc, "--list-gpu-code"]))
    targets = {known[0], *(str(a.capability) for a in ARCHITECTURES if str(a.capability) in known)}
    flags = [f"-gencode=arch=compute_{target},code=sm_{target}" for target in sorted(targets)]
    flags += shlex.split("-std=c++14 -Xcompiler -Wall,-Wextra,-Werror -Werror all-warnings")
    # How fast the code is does not matter here, and how long it takes to compile does.
    flags += shlex.split("-Xcicc -O1 -Xptxas -O1")
    for source in sorted(KERNELS.glob("*.cu")):
        out = str(tmp_path / f"{source.stem}.o")
        run([nvcc, *flags, f"-I{REPOSITORY / 'plugins' / 'include'}", "-c", str(source), "-o", out])

"""C++ test programs: compiled object by object, again only when a source has changed."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from device_scripts.host import boards
from tests.support.toolchains.arm64 import EMULATOR

REPOSITORY = Path(__file__).resolve().parents[3]
PLUGINS = REPOSITORY / "plugins"
KERNELS = PLUGINS / "kernels" / "cpu"
CUDA_KERNELS = PLUGINS / "kernels" / "cuda"
_SUPPORT = REPOSITORY / "tests" / "plugins" / "cpp"
TRAINING = sorted((KERNELS / "training").glob("*.cpp"))
TRAINING_PROGRAM = [*TRAINING, KERNELS / "common" / "instruction_sets.cpp"]

_HEADERS = (".h", ".cuh")

# Flags of the sources for one instruction set, as in plugins/CMakeLists.txt.
_ISA_FLAGS = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mfma", "-Wno-error"],
    "training": ["-Wno-error"],
}


@dataclass(frozen=True)
class Toolchain:
    """How test programs are built and run.

    Attributes:
        name: of the folder of what it builds.
        compiler: the C++ compiler's command.
        flags: of every compilation and of the linker.
        machine: that the programs are for, as platform.machine() has it.
        launcher: the command that programs are run by; empty where they run as they are.
        includes: folders of our headers.
    """

    name: str
    compiler: tuple[str, ...]
    flags: tuple[str, ...]
    machine: str
    launcher: tuple[str, ...] = ()
    includes: tuple[Path, ...] = (PLUGINS / "include", KERNELS)

    def kernel_sources(self) -> list[Path]:
        """Those of plugins/kernels/cpu for the machine, without the training kernels."""
        others = ("_neon",) if self.machine == "x86_64" else ("_avx2", "_avx512")
        every = sorted(KERNELS.rglob("*.cpp"))
        return [s for s in every if s not in TRAINING and not s.stem.endswith(others)]

    def program(self, name: str, sources: list[Path], folder: Path = _SUPPORT) -> Path:
        """Builds NAME.cpp, of tests/plugins/cpp or another folder, together with these sources."""
        objects = self._objects([*sources, folder / f"{name}.cpp"])
        built = self._folder / name
        run([*self.compiler, *self.flags, *map(str, objects), "-pthread", "-o", str(built)])
        return built

    def library(self, name: str, sources: list[Path]) -> Path:
        """Builds libNAME.so of these sources."""
        objects = self._objects(sources)
        built = self._folder / f"lib{name}.so"
        run([*self.compiler, *self.flags, "-shared", *map(str, objects), "-o", str(built)])
        return built

    def output(self, program: Path, *arguments: str) -> str:
        """What the program prints; it must succeed."""
        return run([*self.launcher, str(program), *arguments])

    @property
    def _folder(self) -> Path:
        return REPOSITORY / "build" / "tests" / self.name

    def _objects(self, sources: list[Path]) -> list[Path]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self._object, sources))

    def _object(self, source: Path) -> Path:
        target = self._folder / source.relative_to(REPOSITORY).with_suffix(".o")
        beside = {path for folder in (source.parent, _SUPPORT) for path in folder.glob("*")}
        included = {path for folder in self.includes for path in folder.rglob("*")}
        headers = [path for path in beside | included if path.suffix in _HEADERS]
        newest = max(part.stat().st_mtime for part in [source, *headers, Path(__file__)])
        if not target.is_file() or target.stat().st_mtime < newest:
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target.with_suffix(f".{os.getpid()}.o")
            includes = [f"-I{folder}" for folder in self.includes]
            flags = [*self.flags, *self._source_flags(source), *includes]
            run([*self.compiler, *flags, "-c", str(source), "-o", str(fresh)])
            fresh.replace(target)
        return target

    def _source_flags(self, source: Path) -> list[str]:
        if source.suffix == ".cu":
            return ["-Wno-unknown-pragmas", "-x", "c++"]  # nvcc's pragmas
        last = "training" if source in TRAINING else source.stem.rpartition("_")[2]
        isa = _ISA_FLAGS.get(last, []) if self.machine == "x86_64" else []
        exact = (
            ["-ffp-contract=off", "-fno-trapping-math"] if source.parent.name == "integer" else []
        )
        return [*isa, *exact]


def run(command: list[str]) -> str:
    """Output of a command that succeeds; its own report where it does not."""
    answer = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@lru_cache(maxsize=1)
def jetson_nano_library() -> Path:
    """What `make plugins BOARD=jetson-nano` builds, after it has."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", str(REPOSITORY), "plugins", "BOARD=jetson-nano"]
    answer = subprocess.run(command, capture_output=True, text=True, env=own, timeout=1500)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return REPOSITORY / "build" / "plugins" / "jetson-nano" / "libshiftadd_ort.so"


SANITIZED = Toolchain(
    "sanitized",
    tuple(shlex.split(os.environ.get("CXX", "c++"))),
    (
        *("-std=c++14", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    ),
    platform.machine(),
)

_RACES = ("-std=c++14", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=thread")

# For programs whose threads share what they must not write to.
THREADS = replace(
    SANITIZED,
    name="threads",
    flags=_RACES,
    includes=(*SANITIZED.includes, PLUGINS / "onnxruntime"),
)

JETSON_NANO = Toolchain(
    "jetson-nano",
    tuple(boards.find().cross_compiler()),
    (
        *(
            "-std=c++14",
            "-O3",
            "-g0",
            "-DNDEBUG",
            "-fno-sanitize=all",
            "-Wall",
            "-Wextra",
            "-Werror",
        ),
    ),
    "aarch64",
    (*EMULATOR, "-L", "/usr/aarch64-linux-gnu"),
)

# For the CUDA kernels: tests/plugins/cpp/cuda stands for CUDA's own headers. Fibers jump between
# stacks, which a fortified longjmp refuses.
CUDA_ON_HOST = replace(
    SANITIZED,
    name="cuda-on-host",
    flags=(*SANITIZED.flags, "-U_FORTIFY_SOURCE"),
    includes=(_SUPPORT / "cuda", PLUGINS / "include", CUDA_KERNELS),
)

# A block's threads as threads there, for the sanitizer that finds races.
CUDA_ON_THREADS = replace(
    CUDA_ON_HOST,
    name="cuda-on-threads",
    flags=_RACES,
)


def cuda_sources(threads: str = "fibers") -> list[Path]:
    """The CUDA kernels and what runs them on the host: "fibers" or "threads"."""
    return [*sorted(CUDA_KERNELS.glob("*.cu")), _SUPPORT / "cuda" / f"{threads}.cpp"]


def tensorrt_toolchain(include: Path, version: str) -> Toolchain:
    """For programs with the TensorRT plugins, against the headers in this folder."""
    return replace(
        CUDA_ON_HOST,
        name=f"tensorrt-{version}",
        flags=(*CUDA_ON_HOST.flags, f"-isystem{include}"),
        includes=(*CUDA_ON_HOST.includes, PLUGINS / "tensorrt", _SUPPORT),
    )


def tensorrt_cases_library(include: Path) -> Path:
    """A library that runs single operators through the plugins: tensorrt_cases.cpp."""
    toolchain = replace(
        CUDA_ON_HOST,
        name="tensorrt-cases",
        flags=("-std=c++14", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", f"-isystem{include}"),
        includes=(
            *CUDA_ON_HOST.includes,
            *(PLUGINS / "tensorrt", _SUPPORT, REPOSITORY / "device_scripts" / "host" / "gpu"),
        ),
    )
    cases = _SUPPORT / "tensorrt_cases.cpp"
    return toolchain.library("tensorrt_cases", [*tensorrt_sources(), cases])


def tensorrt_sources() -> list[Path]:
    """The TensorRT plugins, their kernels, and a library of TensorRT's functions for them."""
    plugins = sorted((PLUGINS / "tensorrt").glob("*.cpp"))
    return [*plugins, *cuda_sources(), _SUPPORT / "tensorrt_library.cpp"]

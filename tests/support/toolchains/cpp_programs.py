"""C++ test programs, one CMake build a toolchain: tests/plugins/cpp/CMakeLists.txt.

An object is compiled once and serves every program that needs it. A build holds a lock, so that two
workers of pytest, or two runs in one checkout, never write to it at the same time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from device_scripts.host import nvidia
from device_scripts.host.a57.system import EMULATOR

REPOSITORY = Path(__file__).resolve().parents[3]
PLUGINS = REPOSITORY / "plugins"
CXX = os.environ.get("CXX", "c++")
_SOURCES = REPOSITORY / "tests" / "plugins" / "cpp"
_BUILDS = REPOSITORY / "build" / "tests"


@dataclass(frozen=True)
class Toolchain:
    """How test programs are built and run.

    Attributes:
        name: the name of the build folder below build/tests.
        flags: the compiler's flags of this toolchain; those of a source come from CMake.
        compiler: the C++ compiler; None where `options` name a CMake toolchain file.
        options: more of CMake's options, without the -D.
        launcher: the command that programs are run by; empty where they run as they are.
        tensorrt: the folder of the TensorRT headers; None for the packaged ones.
    """

    name: str
    flags: str
    compiler: str | None = CXX
    options: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    tensorrt: Path | None = None

    def build(self, target: str) -> Path:
        """Builds a program, or lib<target>.so where the target is a library; its path."""
        folder = _BUILDS / self.name
        with _locked(folder):
            self._configure(folder)
            run(["cmake", "--build", str(folder), "--target", target, "--parallel", _processors()])
        program = folder / target
        return program if program.is_file() else folder / f"lib{target}.so"

    def output(self, program: Path, *arguments: str) -> str:
        """What the program prints; it must succeed."""
        return run([*self.launcher, str(program), *arguments])

    def _configure(self, folder: Path) -> None:
        """Runs CMake where its options are new; Ninja runs it again where CMake files changed."""
        options = self._options()
        stamp = folder / "options.txt"
        if stamp.is_file() and stamp.read_text() == "\n".join(options):
            return
        shutil.rmtree(folder, ignore_errors=True)
        definitions = [f"-D{option}" for option in options]
        run(["cmake", "-S", str(_SOURCES), "-B", str(folder), "-G", "Ninja", *definitions])
        stamp.write_text("\n".join(options))

    def _options(self) -> list[str]:
        include = self.tensorrt or _packaged_tensorrt()
        return [
            *([f"CMAKE_CXX_COMPILER={self.compiler}"] if self.compiler else []),
            "CMAKE_BUILD_TYPE=Tests",
            f"CMAKE_CXX_FLAGS_TESTS={self.flags}",
            f"ONNXRUNTIME_INCLUDE_DIR={_onnxruntime_headers()}",
            f"TENSORRT_INCLUDE_DIR={include or ''}",
            *self.options,
        ]


def run(command: list[str]) -> str:
    """Output of a command that succeeds; its own report where it does not.

    CMake and Ninja are those of the Python environment, and a cross-compiler is too.
    """
    binaries = str(Path(sys.executable).parent)
    variables = {
        "ZIG_PYTHON": sys.executable,
        "ZIG_GLOBAL_CACHE_DIR": str(Path(sys.prefix) / "zig-cache"),
        **os.environ,
        "PATH": os.pathsep.join([binaries, os.environ.get("PATH", "")]),
    }
    answer = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=variables)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _processors() -> str:
    """How many processors this process may use, which may be fewer than the machine has."""
    return str(len(os.sched_getaffinity(0)))


@lru_cache(maxsize=1)
def _onnxruntime_headers() -> str:
    return run([sys.executable, str(PLUGINS / "onnxruntime" / "fetch_headers.py")]).strip()


def _packaged_tensorrt() -> Path | None:
    """TensorRT's headers; tests of the plugins leave themselves out where there are none."""
    try:
        return nvidia.packaged("kernel-lens", "kernel_lens/include/tensorrt/NvInfer.h").parent
    except nvidia.MissingPackageError:
        return None


@lru_cache(maxsize=1)
def jetson_nano_library() -> Path:
    """What `make plugins BOARD=jetson-nano` builds, after it has."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", str(REPOSITORY), "plugins", "BOARD=jetson-nano"]
    with _locked(_BUILDS / "jetson-nano-library"):
        answer = subprocess.run(command, capture_output=True, text=True, env=own, timeout=1500)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return REPOSITORY / "build" / "plugins" / "jetson-nano" / "libshiftadd_ort.so"


# Line numbers are enough for a sanitizer's report.
_CHECKED = "-O1 -g1 -fno-omit-frame-pointer -fno-sanitize-recover=all"

SANITIZED = Toolchain(
    "sanitized", f"{_CHECKED} -fsanitize=address,undefined", options=("SHIFTADD_SANITIZED=ON",)
)

# For programs whose threads share what they must not write to.
THREADS = Toolchain("threads", "-O1 -g1 -fsanitize=thread")

# For libraries that are loaded into Python.
OPTIMIZED = Toolchain("optimized", "-O2")

# The kernels are those of the library that `jetson_nano_library` builds, and not compiled again.
JETSON_NANO = Toolchain(
    "jetson-nano",
    "-O3 -DNDEBUG",
    compiler=None,
    options=(
        f"CMAKE_TOOLCHAIN_FILE={PLUGINS.parent}/device_scripts/boards/jetson-nano/toolchain.cmake",
        f"SHIFTADD_BUILT_IN={REPOSITORY}/build/cmake-jetson-nano",
    ),
    launcher=(*EMULATOR, "-L", "/usr/aarch64-linux-gnu"),
)


def fuzz_toolchain(clang: str) -> Toolchain:
    """For the programs of tests/fuzz/cpp, under Clang's libFuzzer and sanitizers.

    Vector kernels are built as they are: instrumented, they take a minute each, and in their
    intrinsics Clang's sanitizers see nothing. Pages behind the arrays catch what they do there.
    """
    # CMake's flags for a source name warnings that GCC alone has.
    flags = "-O1 -gline-tables-only -fno-omit-frame-pointer -Wno-unknown-warning-option"
    return Toolchain(
        "fuzz",
        f"{flags} -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all",
        compiler=clang,
        options=("SHIFTADD_FUZZ=ON", "SHIFTADD_PLAIN_VECTOR_KERNELS=ON"),
    )

"""The TensorRT plugins without TensorRT: its headers, a program that plays it, and CMake.

Headers of other versions than 10.14 come from SHIFTADD_TENSORRT_INCLUDES, folders separated as in
PATH; the Jetson Nano's, 8.2.1, are in NVIDIA's public repository.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.toolchains.cpp_programs import PLUGINS, REPOSITORY, SANITIZED, run
from tests.support.toolchains.nvidia import tensorrt_include

PACKAGED = "10.14"
OLD_CMAKE = "3.10.3"  # the Nano's Ubuntu has 3.10.2


def headers_version(include: Path) -> str:
    """Major and minor version of the TensorRT whose headers these are."""
    text = (include / "NvInferVersion.h").read_text()
    found = dict(re.findall(r"define (?:NV_TENSORRT|TRT)_(M[AJINOR]+)(?:_ENTERPRISE)? (\d+)", text))
    return f"{found['MAJOR']}.{found['MINOR']}"


def header_sets() -> Iterator[object]:
    """The packaged headers, which are not looked for yet, and those of the environment."""
    yield pytest.param(None, id=PACKAGED)
    for folder in filter(None, os.environ.get("SHIFTADD_TENSORRT_INCLUDES", "").split(os.pathsep)):
        yield pytest.param(Path(folder), id=headers_version(Path(folder)))


@pytest.mark.parametrize("include", list(header_sets()))
def test_plugins_do_what_tensorrt_asks(include: Path | None) -> None:
    if include is None:
        tensorrt_include()  # leaves the test out where there is none
        toolchain = SANITIZED
    else:
        name = f"{SANITIZED.name}-tensorrt-{headers_version(include)}"
        toolchain = replace(SANITIZED, name=name, tensorrt=include)
    assert " 0 failures" in toolchain.output(toolchain.build("tensorrt_test"))


def test_the_packaged_headers_are_of_that_version() -> None:
    assert headers_version(tensorrt_include()) == PACKAGED


@pytest.fixture(scope="module")
def old_cmake() -> Path:
    """The Nano's CMake, which runs without the Python that its package was made for."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip(f"PyPI has CMake {OLD_CMAKE} for x86-64 only")
    folder = REPOSITORY / "build" / f"cmake-{OLD_CMAKE}"
    folder.mkdir(parents=True, exist_ok=True)
    cmake = folder / "cmake" / "data" / "bin" / "cmake"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cmake.exists():
            target = ["--python-version", "36", "--abi", "cp36m", "--platform", "manylinux1_x86_64"]
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            run([*pip, "--only-binary=:all:", *target, "-d", str(folder), f"cmake=={OLD_CMAKE}"])
            zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder)
            cmake.chmod(0o755)
    return cmake


def configure(cmake: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Configures the TensorRT library alone."""
    folder.mkdir()
    command = [str(cmake), str(PLUGINS), "-DSHIFTADD_TENSORRT=ON", "-DSHIFTADD_ONNXRUNTIME=OFF"]
    command += [f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={folder}", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def said(answer: subprocess.CompletedProcess[str]) -> str:
    """What CMake printed, without its line breaks."""
    return " ".join((answer.stdout + answer.stderr).split())


def has_nvcc() -> bool:
    """Whether CMake will find a CUDA compiler."""
    return bool(shutil.which("nvcc") or Path("/usr/local/cuda/bin/nvcc").exists())


@pytest.fixture
def tensorrt_root(tmp_path: Path) -> Path:
    """An installed TensorRT: the headers, and a libnvinfer with nothing behind its functions."""
    root = tmp_path / "TensorRT"
    (root / "lib").mkdir(parents=True)
    (root / "include").symlink_to(tensorrt_include())
    source = tmp_path / "nvinfer.c"
    functions = ("void *getPluginRegistry", "void *getLogger", "int getInferLibMajorVersion")
    source.write_text("".join(f"{function}(void) {{ return 0; }}\n" for function in functions))
    library = root / "lib" / "libnvinfer.so"
    run(["cc", "-shared", "-fPIC", "-Wl,-soname,libnvinfer.so", str(source), "-o", str(library)])
    return root


def test_cmake_says_what_is_missing(old_cmake: Path, tmp_path: Path) -> None:
    answer = configure(old_cmake, tmp_path / "bare", "-DTENSORRT_INCLUDE_DIR=")
    assert answer.returncode != 0
    assert "NvInferRuntime.h not found: set TENSORRT_ROOT" in said(answer)
    include = f"-DTENSORRT_INCLUDE_DIR={tensorrt_include()}"
    answer = configure(old_cmake, tmp_path / "headers", include)
    assert answer.returncode != 0
    assert "libnvinfer.so not found: set TENSORRT_LIBRARY" in said(answer)
    answer = configure(old_cmake, tmp_path / "only", include, "-DSHIFTADD_TENSORRT_HEADERS_ONLY=ON")
    assert "only where the process has loaded libnvinfer" in said(answer)
    if has_nvcc():
        assert answer.returncode == 0, said(answer)
    else:
        assert "nvcc not found: set CMAKE_CUDA_COMPILER" in said(answer)


def test_cmake_builds_the_library(old_cmake: Path, tensorrt_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    # How fast the code is does not matter here, and how long it takes to compile does.
    options = ("-DSHIFTADD_CUDA_ARCHS=75", "-DCMAKE_CUDA_FLAGS=-Xcicc -O1 -Xptxas -O1")
    answer = configure(old_cmake, folder, f"-DTENSORRT_ROOT={tensorrt_root}", *options)
    if not has_nvcc():
        assert "nvcc not found: set CMAKE_CUDA_COMPILER" in said(answer)
        return
    assert answer.returncode == 0, said(answer)
    printed = run([str(old_cmake), "--build", str(folder)])
    assert "warning" not in printed.lower(), printed
    library = folder / "libshiftadd_tensorrt.so"
    exports = run(["nm", "-D", "--defined-only", "--format=posix", str(library)]).splitlines()
    names = {line.split()[0] for line in exports}
    assert names == {"getCreators", "getPluginCreators", "setLoggerFinder"}
    dynamic = run(["readelf", "-d", str(library)])
    assert "[libnvinfer.so]" in dynamic
    assert "NODELETE" in dynamic
    run([sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(library)!r})"])

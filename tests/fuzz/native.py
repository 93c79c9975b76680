"""What the fuzzers need in C++: the targets of tests/fuzz/cpp, built with Clang's libFuzzer under
its sanitizers of addresses and undefined behaviour, and the operator library under the compiler's.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from tests.support.toolchains.cpp_programs import (
    CUDA_KERNELS,
    CUDA_ON_HOST,
    PLUGINS,
    REPOSITORY,
    Toolchain,
    run,
)
from tests.support.toolchains.nvidia import tensorrt_include

_SOURCES = REPOSITORY / "tests" / "fuzz" / "cpp"
_SUPPORT = REPOSITORY / "tests" / "plugins" / "cpp"
_CLANG = os.environ.get("SHIFTADD_CLANG", "clang++")
_CXX = tuple(shlex.split(os.environ.get("CXX", "c++")))

NATIVE_TARGETS = ("operators", "plugin_blob", "plugin_fields")


class MissingClangError(Exception):
    """There is no Clang; the text says what to install."""


class _FuzzToolchain(Toolchain):
    """Vector kernels are built as they are: instrumented, they take a minute each, and in their
    intrinsics the sanitizers see nothing. Pages behind the arrays catch what they do there."""

    def _source_flags(self, source: Path) -> list[str]:
        flags = super()._source_flags(source)
        vector = source.stem.endswith(("_avx2", "_avx512", "_neon"))
        return [*flags, "-fno-sanitize=all"] if vector else flags


_CPU = _FuzzToolchain(
    name="fuzz-cpu",
    compiler=(_CLANG,),
    flags=(
        *("-std=c++14", "-O1", "-gline-tables-only", "-Wall", "-Wextra"),
        *("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"),
        "-fno-omit-frame-pointer",
    ),
    machine=platform.machine(),
    includes=(PLUGINS / "include", PLUGINS / "kernels" / "cpu", _SUPPORT, _SOURCES),
)


def build(name: str) -> Path:
    """The program of one of NATIVE_TARGETS. Raises MissingClangError; a failed build asserts."""
    if shutil.which(_CLANG) is None:
        raise MissingClangError(
            f"{_CLANG} is missing: install Clang and its runtime libraries (Debian: apt-get "
            "install clang libclang-rt-14-dev), or set SHIFTADD_CLANG"
        )
    if name == "operators":
        return _CPU.program(name, _CPU.kernel_sources(), _SOURCES)
    toolchain = replace(
        _CPU,
        name="fuzz-tensorrt",
        flags=(*_CPU.flags, f"-isystem{tensorrt_include()}"),
        includes=(*CUDA_ON_HOST.includes, PLUGINS / "tensorrt", _SUPPORT, _SOURCES),
    )
    plan, library = CUDA_KERNELS / "plan.cu", _SUPPORT / "tensorrt_library.cpp"
    plugins = sorted((PLUGINS / "tensorrt").glob("*.cpp"))
    return toolchain.program(
        name, [*plugins, plan, library, _SOURCES / "plugin_drive.cpp"], _SOURCES
    )


def sanitized_environment() -> dict[str, str]:
    """Variables with which a Python process loads the operator library under sanitizers.

    The sanitizer's own library comes first in the process. What it has no memory for it says with a
    null pointer, as the system does; Python's leaks are nobody's business here.
    """
    headers = run([sys.executable, str(PLUGINS / "onnxruntime" / "fetch_headers.py")]).strip()
    toolchain = replace(
        _CPU,
        name="fuzz-asan",
        compiler=_CXX,
        flags=(
            *("-std=c++14", "-O1", "-g", "-fPIC", "-Wl,-z,nodelete", f"-isystem{headers}"),
            *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
        ),
    )
    sources = [*toolchain.kernel_sources(), *(PLUGINS / "onnxruntime").glob("*.cpp")]
    library = toolchain.library("shiftadd_ort", sources)
    preloaded = [
        run([*_CXX, f"-print-file-name=lib{name}.so"]).strip() for name in ("asan", "ubsan")
    ]
    return {
        "SHIFTADD_ORT_LIBRARY": str(library),
        "LD_PRELOAD": ":".join(preloaded),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=2000",
    }

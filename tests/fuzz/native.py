"""What the fuzzers need in C++: the targets of tests/fuzz/cpp, built with Clang's libFuzzer under
its sanitizers of addresses and undefined behaviour, and the operator library under the compiler's.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from tests.support.toolchains.cpp_programs import CXX, SANITIZED, fuzz_toolchain, run
from tests.support.toolchains.nvidia import tensorrt_include

_CLANG = os.environ.get("SHIFTADD_CLANG", "clang++")

NATIVE_TARGETS = ("operators", "plugin_blob", "plugin_fields")


class MissingClangError(Exception):
    """There is no Clang; the text says what to install."""


def build(name: str) -> Path:
    """The program of one of NATIVE_TARGETS. Raises MissingClangError; a failed build asserts."""
    if shutil.which(_CLANG) is None:
        raise MissingClangError(
            f"{_CLANG} is missing: install Clang and its runtime libraries (Debian: apt-get "
            "install clang libclang-rt-14-dev), or set SHIFTADD_CLANG"
        )
    if name != "operators":
        tensorrt_include()  # leaves the test out where there is none
    return fuzz_toolchain(_CLANG).build(name)


def sanitized_environment() -> dict[str, str]:
    """Variables with which a Python process loads the operator library under sanitizers.

    The sanitizer's own library comes first in the process. What it has no memory for it says with a
    null pointer, as the system does; Python's leaks are nobody's business here.
    """
    library = SANITIZED.build("shiftadd_ort")
    preloaded = [
        run([*shlex.split(CXX), f"-print-file-name=lib{name}.so"]).strip()
        for name in ("asan", "ubsan")
    ]
    return {
        "SHIFTADD_ORT_LIBRARY": str(library),
        "LD_PRELOAD": ":".join(preloaded),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=2000",
    }

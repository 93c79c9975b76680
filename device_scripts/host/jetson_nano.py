"""The Jetson Nano's cross-compiler, read from device_scripts/boards/jetson-nano/toolchain.cmake."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_TOOLCHAIN = Path(__file__).resolve().parents[1] / "boards" / "jetson-nano" / "toolchain.cmake"


def cross_compiler() -> list[str]:
    """The command of the C++ compiler, with the target and the processor."""
    arguments = re.search(r'COMPILER_ARG1\s*"([^"]*)"', _TOOLCHAIN.read_text())
    if arguments is None:
        raise ValueError(f"{_TOOLCHAIN}: does not set CMAKE_CXX_COMPILER_ARG1")
    return [os.environ.get("ZIG_PYTHON", sys.executable), *arguments.group(1).split()]

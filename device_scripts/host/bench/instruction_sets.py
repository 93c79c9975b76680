"""Runs the bench, ONNX Runtime included, as if the processor had fewer vector instructions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from device_scripts.host.bench.compiler import compile_shared
from runtime.core.errors import ShiftAddError

ISAS = ("native", "avx2")
_VARIABLE = "SHIFTADD_BENCH_ISA"


def current() -> str:
    """The name of the instruction sets that this process was started for."""
    return os.environ.get(_VARIABLE, "native")


def run_without_avx512(arguments: Sequence[str]) -> int:
    """This command in a process that finds no AVX-512; its exit status.

    Raises ShiftAddError on another kind of machine and where there is no C compiler.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        raise ShiftAddError(f"--isa avx2 is for x86-64; this machine is {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "hide_avx512.so"
        source = Path(__file__).with_name("hide_avx512.c")
        compile_shared(source, library, ["-x", "c", "-std=c11", "-O1"])
        environment = {**os.environ, "LD_PRELOAD": str(library), _VARIABLE: "avx2"}
        command = [sys.executable, "-m", "device_scripts.host.bench", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode

"""Builds the small libraries of the bench when they are needed."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from runtime.core.errors import ShiftAddError


def compile_shared(source: Path, library: Path, flags: Sequence[str]) -> None:
    """Builds a library of one source. Raises ShiftAddError, with the compiler's first error."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    command = [*compiler, "-Wall", "-Wextra", "-Werror", *flags, "-shared", "-fPIC", str(source)]
    # Compilers handle the signal of hide_avx512.c themselves, so they run without that library.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    try:
        answer = subprocess.run(
            [*command, "-o", str(library)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    except OSError as error:
        raise ShiftAddError(f"{compiler[0]}: cannot be run; set CXX ({error.strerror})") from error
    if answer.returncode != 0:
        errors = [line for line in answer.stderr.splitlines() if "error" in line]
        raise ShiftAddError(f"{source.name} does not compile: {(errors or ['?'])[0]}")

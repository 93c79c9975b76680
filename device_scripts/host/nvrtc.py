"""NVIDIA's run-time compiler, NVRTC, which turns CUDA C++ into PTX with neither a toolkit nor a
GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from device_scripts.host import nvidia
from runtime.core.errors import ShiftAddError

_SUCCESS = 0


class CompileError(ShiftAddError):
    """A source that does not compile, in one line: the compiler's first error."""


def compile_to_ptx(source: Path, architecture: int, includes: Sequence[Path]) -> str:
    """The PTX of every kernel that the source's code refers to.

    Host code is compiled as device code, since NVRTC cannot read it otherwise; nothing runs it.

    Args:
        source: a .cu file; where it includes "x.h", x.h is looked for in `includes` alone.
        architecture: compute capability, 53 for 5.3.
        includes: folders, the first one first; CUDA's own headers are added behind them.

    Raises CompileError where it does not compile, MissingPackageError where NVRTC is missing.
    """
    options = [f"--gpu-architecture=compute_{architecture}", "--std=c++14"]
    options += ["--device-as-default-execution-space"]
    options += [f"--include-path={folder}" for folder in (*includes, nvidia.cuda_include())]
    program = ctypes.c_void_p()
    _check(
        _library().nvrtcCreateProgram(
            ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None
        )
    )
    try:
        arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if _library().nvrtcCompileProgram(program, len(options), arguments) != _SUCCESS:
            raise CompileError(
                f"compute_{architecture}: {_first_error(_text(program, 'ProgramLog'))}"
            )
        return _text(program, "PTX")
    finally:
        _check(_library().nvrtcDestroyProgram(ctypes.byref(program)))


def version() -> str:
    """The version of the compiler, such as "12.9". Raises MissingPackageError."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(nvidia.nvrtc_library()))


def _text(program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    _check(getattr(_library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(getattr(_library(), f"nvrtcGet{what}")(program, text))
    return text.value.decode()


def _first_error(log: str) -> str:
    lines = [line for line in log.splitlines() if "error" in line]
    return lines[0] if lines else log.strip()


def _check(result: int) -> None:
    if result != _SUCCESS:
        raise CompileError(f"NVRTC fails with error {result}")

"""The CUDA kernels as a shared library that nvcc builds for the GPU at hand, through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export import operator_table
from runtime.core.errors import ShiftAddError
from runtime.core.places import ROOT

REPOSITORY = Path(ROOT)
KERNELS = REPOSITORY / "plugins" / "kernels" / "cuda"
HERE = Path(__file__).resolve().parent
SOURCES = [KERNELS / "convolution.cu", KERNELS / "plan.cu", HERE / "plain_adder.cu"]
BRIDGE = HERE / "bridge.cpp"
INCLUDES = [f"-I{folder}" for folder in (REPOSITORY / "plugins" / "include", KERNELS, HERE)]
ACTIVATIONS = tuple(operator_table.ACTIVATIONS)

_ERROR_BYTES = 512


class BuildError(ShiftAddError):
    """The library cannot be built here."""


class _Call(ctypes.Structure):
    """bridge.h's ShiftaddCall."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("adder", "half", "activation", "weight_bits")),
        ("kernel_shape", ctypes.c_int64 * 2),
        ("strides", ctypes.c_int64 * 2),
        ("pads", ctypes.c_int64 * 4),
        ("dilations", ctypes.c_int64 * 2),
        ("group", ctypes.c_int64),
        ("x_shape", ctypes.c_int64 * 4),
        ("out_channels", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("x", "w", "scale", "bias", "y", "workspace")),
        ("stream", ctypes.c_void_p),
        ("multiprocessors", ctypes.c_int64),
    ]


@dataclass(frozen=True)
class Convolution:
    """One operator's attributes and shapes.

    Attributes:
        operator: ShiftConv or AdderConv.
        x_shape: [N, C, H, W].
        half: whether X and Y are float16; else they are float32.
        weight_bits: those of a ShiftConv's codes, 4 or 8.
    """

    operator: str
    x_shape: tuple[int, int, int, int]
    out_channels: int
    kernel_shape: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    group: int = 1
    weight_bits: int = 4
    activation: str = "none"
    half: bool = False


@dataclass(frozen=True)
class Pointers:
    """Addresses of dense arrays that the kernels can reach, and the stream to run on."""

    x: int
    w: int
    scale: int
    bias: int
    y: int
    workspace: int = 0
    stream: int = 0


class Library:
    """The built kernels. Raises ValueError for a call that breaks the contract."""

    def __init__(self, path: Path, multiprocessors: int) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.shiftadd_workspace_bytes.restype = ctypes.c_int64
        self._multiprocessors = multiprocessors

    def workspace_bytes(self, convolution: Convolution) -> int:
        return self._answer("shiftadd_workspace_bytes", convolution, Pointers(0, 0, 0, 0, 0))

    def run(self, convolution: Convolution, pointers: Pointers) -> None:
        """Enqueues the convolution."""
        self._answer("shiftadd_convolve", convolution, pointers)

    def run_plain_adder(self, convolution: Convolution, pointers: Pointers) -> None:
        """Enqueues a float32 AdderConv by the plain kernel."""
        self._answer("shiftadd_plain_adder", convolution, pointers)

    def _answer(self, function: str, convolution: Convolution, pointers: Pointers) -> int:
        call = _Call(
            adder=convolution.operator == "AdderConv",
            half=convolution.half,
            activation=ACTIVATIONS.index(convolution.activation),
            multiprocessors=self._multiprocessors,
            **{
                name: getattr(pointers, name)
                for name in ("x", "w", "scale", "bias", "y", "workspace", "stream")
            },
            **{
                name: getattr(convolution, name)
                for name in (
                    *("weight_bits", "kernel_shape", "strides", "pads", "dilations", "group"),
                    *("x_shape", "out_channels"),
                )
            },
        )
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        size = ctypes.c_size_t(_ERROR_BYTES)
        result: int = getattr(self._library, function)(ctypes.byref(call), error, size)
        if result < 0:
            raise ValueError(error.value.decode())
        return result


def build(capability: int) -> Path:
    """Builds the library with nvcc where a source is newer than the library.

    Args:
        capability: the GPU's compute capability, 53 for 5.3.

    Raises BuildError where there is no nvcc, or where it fails.
    """
    library = REPOSITORY / "build" / "gpu" / f"libshiftadd_sm_{capability}.so"
    contract = REPOSITORY / "plugins" / "include" / "shiftadd"
    headers = [*KERNELS.glob("*.*h"), *HERE.glob("*.h"), *contract.glob("*.h")]
    newest = max(path.stat().st_mtime for path in [*SOURCES, BRIDGE, *headers])
    if library.is_file() and library.stat().st_mtime > newest:
        return library
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise BuildError("no nvcc: install the CUDA toolkit, and put its bin folder into PATH")
    library.parent.mkdir(parents=True, exist_ok=True)
    fresh = library.with_suffix(f".{os.getpid()}.so")
    flags = [
        "-std=c++14",
        "-O3",
        f"-arch=sm_{capability}",
        "-shared",
        "-Xcompiler=-fPIC,-Wall,-Wextra",
    ]
    _run([nvcc, *flags, *INCLUDES, *map(str, [*SOURCES, BRIDGE]), "-o", str(fresh)])
    fresh.replace(library)
    return library


def _run(command: Sequence[str]) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        lines = [line for line in answer.stderr.splitlines() if "error" in line]
        raise BuildError(f"nvcc failed: {(lines or [answer.stderr])[0]}")

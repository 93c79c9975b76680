"""Finds the files of what NVIDIA publishes as Python packages (requirements-nvidia.txt)."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from runtime.core.errors import ShiftAddError
from runtime.core.places import ROOT

REQUIREMENTS = Path(ROOT) / "requirements-nvidia.txt"


class MissingPackageError(ShiftAddError):
    """One of NVIDIA's packages is not installed; the message says in one line how to get it."""


def available() -> bool:
    """Whether NVIDIA has these packages for this machine."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def packaged(package: str, path: str) -> Path:
    """The file or folder at `path` of an installed package's tree.

    Raises MissingPackageError where the package, or the path in it, is not there.
    """
    try:
        found = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        remedy = (
            "run `make setup`" if available() else "NVIDIA has it for Linux on x86-64 machines only"
        )
        raise MissingPackageError(f"{package} is not installed: {remedy}") from None
    if not found.exists():
        raise MissingPackageError(
            f"{package} has no {path}: its version is not that of {REQUIREMENTS.name}"
        )
    return found


def nvrtc_library() -> Path:
    """The CUDA compiler as a library, libnvrtc.so.12. Raises MissingPackageError."""
    return packaged("nvidia-cuda-nvrtc-cu12", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12")


def cuda_include() -> Path:
    """The folder with cuda_fp16.h and cuda_runtime_api.h. Raises MissingPackageError."""
    return packaged("nvidia-cuda-runtime-cu12", "nvidia/cuda_runtime/include")


def ptxas() -> Path:
    """The assembler of PTX. Raises MissingPackageError."""
    return packaged("nvidia-cuda-nvcc-cu12", "nvidia/cuda_nvcc/bin/ptxas")

"""What NVIDIA publishes on PyPI, at hand for the tests: headers, compilers and TensorRT-RTX.

On a machine that NVIDIA has the packages for, their absence is a failure; on another the test is
left out, which CI counts as one too.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device_scripts.host import nvidia

REPOSITORY = Path(__file__).resolve().parents[3]


def tensorrt_include() -> Path:
    """The folder with NvInfer.h of TensorRT 10.14."""
    return _found(
        lambda: nvidia.packaged("kernel-lens", "kernel_lens/include/tensorrt/NvInfer.h").parent
    )


def cuda_include() -> Path:
    """The folder with cuda_fp16.h and cuda_occupancy.h of CUDA 12.9."""
    return _found(nvidia.cuda_include)


def nvrtc_library() -> Path:
    """libnvrtc.so.12 of CUDA 12.9."""
    return _found(nvidia.nvrtc_library)


def ptxas() -> Path:
    """The ptxas of CUDA 12.9."""
    return _found(nvidia.ptxas)


def needs_tensorrt_rtx() -> None:
    """Leaves the test out where NVIDIA has no TensorRT-RTX for the machine."""
    _found(lambda: nvidia.packaged("tensorrt-rtx-cu13-libs", "tensorrt_rtx_libs"))
    _found(lambda: nvidia.packaged("tensorrt-rtx-cu13-bindings", "tensorrt_rtx_bindings"))


def run_with_tensorrt_rtx(
    module: str, *arguments: str, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Runs a Python module that imports tensorrt_rtx_bindings in a process of its own, which
    NVIDIA's library may abort; with what it printed, whatever its end."""
    needs_tensorrt_rtx()
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=REPOSITORY,
        check=False,
    )


def _found(find: Callable[[], Path]) -> Path:
    try:
        return find()
    except nvidia.MissingPackageError as error:
        if nvidia.available():
            pytest.fail(str(error))
        pytest.skip(str(error))

"""Converts between a value, channels second, and its codes, channels last."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calibration.quantization import Grid

Float32 = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

_SUFFIX = "/codes"


def codes_name(value: str) -> str:
    """What the quantized graph calls the codes of the float graph's `value`."""
    return value + _SUFFIX


def value_name(codes: str) -> str | None:
    """The float graph's value whose codes the tensor `codes` holds; None for a tensor of another
    name."""
    return codes.removesuffix(_SUFFIX) if codes.endswith(_SUFFIX) else None


def quantize(value: Float32, grid: Grid) -> Codes:
    """Codes [N, ..., C] of a value [N, C, ...], rounded half to even as QuantizeLinear does."""
    codes = _steps(value, grid)
    codes += np.float32(grid.zero_point)
    return np.ascontiguousarray(np.moveaxis(codes.astype(np.uint8), 1, -1))


def dequantize(codes: Codes, grid: Grid) -> Float32:
    """The value [N, C, ...] that codes [N, ..., C] stand for."""
    steps = codes.astype(np.float32)
    steps -= np.float32(grid.zero_point)
    steps *= grid.scale
    return np.moveaxis(steps, -1, 1)


def rounded(value: Float32, grid: Grid) -> Float32:
    """The value after it is turned into codes and back."""
    steps = _steps(value, grid)
    steps *= grid.scale
    return steps


def _steps(value: Float32, grid: Grid) -> Float32:
    """How many steps of the grid a value's code is away from 0, as whole numbers."""
    steps = value / grid.scale
    np.rint(steps, out=steps)
    return np.clip(steps, -grid.zero_point, grid.last - grid.zero_point, out=steps)


def saturated(codes: Codes, grid: Grid) -> int:
    """How many codes lie at an end of the range, where they may stand for any value beyond it.

    An end that is the code of 0 does not count: it holds the zeros of a ReLU.
    """
    ends = {0, grid.last} - {grid.zero_point}
    return sum(int(np.count_nonzero(codes == end)) for end in ends)

"""The one rule from a range to a grid: scale and zero point of the codes for an activation.

Calibration applies it to the integer model and to TensorRT's cache, and fine-tuning
(export/training/fixed_point.py) to the activations that it simulates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from runtime.core.errors import ModelError

_TENSORRT_LAST_CODE = 127
_SMALLEST = float(np.finfo(np.float32).tiny)

# The scale of an activation that is always 0. Every scale can express 0, but an adder's weights are
# rounded to the grid of its input, so the step has to be small against weights. It also has to be
# so large that a bias divided by it stays far below float32's largest number.
_DEAD_SCALE = 2.0**-20


@dataclass(frozen=True)
class Range:
    """The least and the largest value of an activation that its codes are to tell apart."""

    low: float
    high: float

    @property
    def constant(self) -> bool:
        """Whether it is one value, whatever the image."""
        return self.low == self.high


@dataclass(frozen=True)
class Grid:
    """The values that codes 0..last stand for: `scale * (q - zero_point)`; scale is a float32."""

    scale: float
    zero_point: int
    last: int = 255

    @property
    def low(self) -> float:
        """The least value, rounded to float32."""
        return float(np.float32(self.scale) * np.float32(-self.zero_point))

    @property
    def high(self) -> float:
        """The greatest value, rounded to float32."""
        return float(np.float32(self.scale) * np.float32(self.last - self.zero_point))


def grid_over(name: str, limits: Range, bits: int = 8) -> Grid:
    """The grid of unsigned codes of `bits` bits for the values of the tensor `name`.

    The range is widened to hold 0, which padding and ReLU need exactly:
    `scale = (high - low) / (2^bits - 1)`, computed in float64 and rounded once, and
    `zero_point = rint(-low / scale)`, half to even, within the codes. So a constant other than 0 is
    an end of its grid. A range too narrow for a float32 scale counts as the constant 0, whose scale
    is 2^-20 with the zero point 0.

    Raises ModelError, naming the tensor, for a range that is not finite or too wide for float32.
    """
    _check_finite(name, limits)
    last = 2**bits - 1
    low, high = min(limits.low, 0.0), max(limits.high, 0.0)
    scale = _rounded((high - low) / last)
    if scale < _SMALLEST:
        return Grid(_DEAD_SCALE, 0, last)
    zero_point = round(-low / scale) if math.isfinite(scale) else 0
    grid = Grid(scale, min(max(zero_point, 0), last), last)
    with np.errstate(over="ignore", invalid="ignore"):
        representable = math.isfinite(grid.high - grid.low)
    if not representable:
        raise ModelError(f"{name}: no float32 is a scale for its range {low:g}..{high:g}")
    return grid


def symmetric_scale(name: str, limits: Range) -> float:
    """TensorRT's int8 scale, a float32: the range's largest magnitude over 127, zero point 0.

    A range too narrow for a float32 scale counts as the constant 0, as for `grid_over`.

    Raises ModelError, naming the tensor, for a range that is not finite or too wide for float32.
    """
    _check_finite(name, limits)
    scale = _rounded(max(abs(limits.low), abs(limits.high)) / _TENSORRT_LAST_CODE)
    if not math.isfinite(scale):
        raise ModelError(
            f"{name}: no float32 is an int8 scale for its range {limits.low:g}..{limits.high:g}"
        )
    return scale if scale >= _SMALLEST else _DEAD_SCALE


def _check_finite(name: str, limits: Range) -> None:
    if not (math.isfinite(limits.low) and math.isfinite(limits.high)):
        raise ModelError(
            f"{name}: its range is {limits.low}..{limits.high}, which is not finite; check the "
            "weights and the images"
        )


def _rounded(value: float) -> float:
    """The nearest float32, infinite beyond the largest."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))

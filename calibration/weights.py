"""An adder's weights on the grid of its input's codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.quantization import Grid

Float32 = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]


def quantize_adder(weight: Array, scale: Array, bias: Array, grid: Grid) -> tuple[Codes, Float32]:
    """The weights' codes, uint8 [M, Cg, kH, kW], and the bias that goes with them, float32 [M].

    No x lies outside the grid that codes can express, so for a weight that does,
    |x - w| = |x - clamp(w)| + |clamp(w) - w| for all of them: the second term is the channel's
    own, and moves into the bias. What remains is the rounding (docs/operators.md, section 5.4).

    Args:
        weight: float32 [M, Cg, kH, kW].
        scale, bias: float32 [M], of act(scale * sum + bias).
        grid: the grid of the adder's input.
    """
    clamped = np.clip(weight.astype(np.float64), grid.low, grid.high)
    excess = np.abs(clamped - weight).reshape(len(weight), -1).sum(1)
    codes = np.rint(clamped / grid.scale) + grid.zero_point
    moved = bias.astype(np.float64) - scale.astype(np.float64) * excess
    return codes.clip(0, 255).astype(np.uint8), moved.astype(np.float32)

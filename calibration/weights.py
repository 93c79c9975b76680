"""The weights of integer layers: an adder's on the grid of its input, a shift's in 4 bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.quantization import Grid
from export.onnx_export import codec

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


@dataclass(frozen=True)
class FourBits:
    """A shift layer's weights in the codes that the integer ShiftConv has.

    Attributes:
        words: packed, int32 [M, width].
        factor: float32 [M], by which the layer's scale is to be multiplied.
        decibels: the signal-to-noise ratio of the weights; infinite where nothing is lost.
    """

    words: codec.Words
    factor: Float32
    decibels: float


def four_bits(words: codec.Words, depth: int) -> FourBits:
    """The nearest 4-bit codes for a layer's 8-bit codes, int32 [M, width] of M rows of `depth`.

    A channel's largest weight goes into its factor, exactly; 4 bits reach down to a 64th of it.
    What is smaller becomes a 64th or 0, whatever is nearer.

    Raises ValueError for words that `codec.unpack` refuses.
    """
    weights = codec.unpack(words, (len(words), depth), 8).astype(np.float64)
    largest = np.abs(weights).max(axis=1, initial=0.0)
    factor = np.where(largest > 0, largest, 1.0)
    small = weights / factor[:, None]
    least = 2.0 ** (1 - codec.MAX_K[4])
    below = np.abs(small) < least
    kept = np.where(below, np.where(np.abs(small) > least / 2, np.copysign(least, small), 0), small)
    noise = float(np.square((kept - small) * factor[:, None]).sum())
    signal = float(np.square(weights).sum())
    ratio = math.inf if noise == 0 else 10 * math.log10(signal / noise)
    return FourBits(codec.pack(kept, 4), factor.astype(np.float32), ratio)

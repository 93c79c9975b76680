"""The weights of integer layers: an adder's on the grid of its input, a shift's in 4 bits, and
8-bit codes for those of a layer that multiplies."""

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


@dataclass(frozen=True)
class Multipliers:
    """The weights of a convolution that multiplies, in codes around 128, a scale a channel.

    Attributes:
        codes: uint8 [M, Cg, kH, kW].
        scale: float32 [M].
        bias: int32 [M], in steps of the input's scale times the channel's.
    """

    codes: Codes
    scale: Float32
    bias: npt.NDArray[np.int32]

    @property
    def weights(self) -> Float32:
        """What the codes stand for."""
        steps = self.codes.astype(np.float32) - ZERO_CODE
        return steps * self.scale.reshape(-1, *[1] * (self.codes.ndim - 1))


ZERO_CODE = 128
"""The code of the weight 0. Weights are unsigned, because ONNX Runtime's products of unsigned and
signed bytes saturate on processors with AVX2 alone."""
_LAST_CODE = 127


def multipliers(weight: Array, bias: Array, input_scale: float) -> Multipliers:
    """Codes for weights float32 [M, Cg, kH, kW] and a bias float32 [M].

    A channel's largest weight takes the last code. Its scale is so large that the bias fits 32
    bits.
    """
    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1, initial=0.0)
    needed = np.abs(bias) / (input_scale * 2.0**30)
    scale = np.maximum(np.where(largest > 0, largest / _LAST_CODE, 1.0), needed).astype(np.float32)
    rows = scale.astype(np.float64)
    codes = np.rint(weight / rows.reshape(-1, *[1] * (weight.ndim - 1))) + ZERO_CODE
    steps = np.rint(bias / (input_scale * rows))
    return Multipliers(codes.astype(np.uint8), scale, steps.astype(np.int32))

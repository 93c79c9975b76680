"""What the authors' layers do to their inputs before they sum: rounding to a grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FloorToFixedPoint(nn.Module):
    """Down to a multiple of 2^-fraction_bits, clipped to `integer_bits`; any shape, float.

    DeepShift's `round_to_fixed` (arXiv 1905.13298): the range is [-2^(i-1), 2^(i-1) - 1].
    """

    def __init__(self, fraction_bits: int, integer_bits: int) -> None:
        super().__init__()
        self.fraction_bits, self.integer_bits = fraction_bits, integer_bits

    def forward(self, x: Tensor) -> Tensor:
        bound = 2.0 ** (self.integer_bits - 1)
        floored = torch.floor(x * 2.0**self.fraction_bits) * 2.0**-self.fraction_bits
        return torch.clamp(floored, -bound, bound - 1)

    def extra_repr(self) -> str:
        return f"fraction_bits={self.fraction_bits}, integer_bits={self.integer_bits}"


class RoundToMultiple(nn.Module):
    """To the nearest multiple of `step`, halves to the even one; any shape, float.

    The step is a power of two: ShiftAddNet's SEConv2d has 2^-15, its "wageubn" adders 2^(1-bits).
    """

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(x * (1.0 / self.step)) * self.step

    def extra_repr(self) -> str:
        return f"step={self.step}"


class UniformQuantize(nn.Module):
    """To one of 2^bits levels over [zero_point, zero_point + range], and clipped to them.

    What ShiftAddNet's `QuantMeasure` does in eval mode ("sbm"): any shape, float.
    """

    zero_point: Tensor
    scale: Tensor

    def __init__(self, zero_point: Tensor, extent: Tensor, bits: int) -> None:
        super().__init__()
        self.levels = 2.0**bits - 1
        self.register_buffer("zero_point", zero_point.detach().clone().float().reshape(()))
        scale = (extent.detach().clone().float() / self.levels).clamp_min(1e-8)
        self.register_buffer("scale", scale.reshape(()))

    def forward(self, x: Tensor) -> Tensor:
        codes = torch.round(torch.clamp((x - self.zero_point) / self.scale, 0.0, self.levels))
        return codes * self.scale + self.zero_point

    def extra_repr(self) -> str:
        return f"levels={self.levels:.0f}"


def quantize_channels(weight: Tensor, bits: int) -> Tensor:
    """`weight` [M, ...] on 2^bits levels between each output channel's least and largest value."""
    flat = weight.detach().flatten(1)
    low, high = flat.min(1, keepdim=True).values, flat.max(1, keepdim=True).values
    levels = 2.0**bits - 1
    scale = ((high - low) / levels).clamp_min(1e-8)
    codes = torch.round(torch.clamp((flat - low) / scale, 0.0, levels))
    return (codes * scale + low).view_as(weight)

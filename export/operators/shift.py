"""ShiftConv2d: a convolution whose weights are powers of two (DeepShift, arXiv 1905.13298)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from export.operators.geometry import (
    Window,
    check_channels,
    check_input,
    four_pads,
    kaiming_std,
    pair,
)

Mode = Literal["q", "ps"]


def round_to_power_of_two(
    weight: Tensor, min_exponent: int, max_exponent: int = 0, span: int | None = None
) -> Tensor:
    """sign(w) * 2^round(log2|w|), the exponent clipped to [min_exponent, max_exponent].

    With a `span`, each output channel (dimension 0) keeps that many exponents, down from its
    largest weight's. Any floating dtype; a weight of exactly 0 stays 0. DeepShift-Q, eq. 5 and 6.
    """
    exponent = torch.round(torch.log2(weight.abs())).clamp(min_exponent, max_exponent)
    if span is not None:
        top = exponent.flatten(1).amax(1).view(-1, *[1] * (weight.dim() - 1))
        exponent = torch.maximum(exponent, top - (span - 1))
    return torch.sign(weight) * torch.exp2(exponent)


def _straight_through(rounded: Tensor, latent: Tensor) -> Tensor:
    """The value of `rounded` with the gradient of the identity in `latent` (arXiv 1308.3432)."""
    return latent + (rounded - latent).detach()


class ShiftConv2d(nn.Module):
    """A 2-D convolution with weights in {0, +-2^-p}.

    Input [N, in_channels, H, W], output [N, out_channels, OH, OW], float32.

    Modes (arXiv 1905.13298, section 3):
        "q":  a float `weight` [M, C/g, kH, kW], rounded in the log domain at every use;
              exponents [-(2^(bits-1) - 1), 0].
        "ps": float `shift` and `sign` of that shape, both rounded; sign in {-1, 0, 1};
              exponents [-(2^(bits-1) - 2), 0].
    Gradients pass the roundings straight through.

    `min_exponent` replaces the lower end of the range. `span` (mode "q") lets each output channel
    keep that many exponents, down from its largest weight's. 7 of them fit the contract's 4-bit
    code, whose magnitudes are 1 to 1/64: what the channel is short of 1 by is a power of two, which
    the exporter moves into `scale`. A fixed range would be spent on exponents that no weight has,
    since weights of a wide layer before a BatchNorm are all small.
    `padding` is one number, (height, width), or (top, left, bottom, right).

    Raises ValueError for arguments that do not fit together and for inputs of another shape.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        mode: Mode = "q",
        bits: int = 5,
        min_exponent: int | None = None,
        span: int | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels, groups)
        if mode not in ("q", "ps"):
            raise ValueError(f'mode must be "q" or "ps", got {mode!r}')
        if not 2 <= bits <= 6:
            raise ValueError(f"bits must be 2 to 6 (exponents down to -31), got {bits}")
        lowest = -(2 ** (bits - 1) - (1 if mode == "q" else 2))
        self.min_exponent = max(lowest, -30) if min_exponent is None else min_exponent
        if not -30 <= self.min_exponent <= 0:
            raise ValueError(f"min_exponent must be -30 to 0, got {self.min_exponent}")
        if span is not None and (mode != "q" or span < 1):
            raise ValueError(f'span must be at least 1, in mode "q", got {span} in mode {mode!r}')
        self.span = span
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.groups = groups
        self.mode = mode
        self.window = Window(
            pair(kernel_size, "kernel_size"),
            pair(stride, "stride"),
            four_pads(padding),
            pair(dilation, "dilation"),
        )
        shape = (out_channels, in_channels // groups, *self.window.kernel_shape)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        initial = torch.randn(shape) * kaiming_std(shape[1] * shape[2] * shape[3])
        if mode == "q":
            self.weight = nn.Parameter(initial)
        else:
            exponent = torch.log2(initial.abs()).clamp(self.min_exponent, 0)
            self.shift = nn.Parameter(exponent)
            self.sign = nn.Parameter(torch.sign(initial))

    def effective_weight(self) -> Tensor:
        """The weights as they act: float32 [M, C/g, kH, kW], each 0 or +-2^-p."""
        if self.mode == "q":
            rounded = round_to_power_of_two(self.weight, self.min_exponent, span=self.span)
            return _straight_through(rounded, self.weight)
        shift = self.shift.clamp(self.min_exponent, 0)
        shift = _straight_through(torch.round(shift), shift)
        sign = self.sign.clamp(-1, 1)
        return torch.exp2(shift) * _straight_through(torch.round(sign), sign)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.in_channels)
        out = self.window.conv2d(x, self.effective_weight(), self.groups)
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)

    def extra_repr(self) -> str:
        w = self.window
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={w.kernel_shape}, "
            f"stride={w.strides}, pads={w.pads}, dilation={w.dilations}, groups={self.groups}, "
            f"mode={self.mode}, min_exponent={self.min_exponent}, span={self.span}"
        )

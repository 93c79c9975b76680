"""What ShiftConv2d and AdderConv2d have in common: channels, window and bias."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from export.operators.geometry import Window, check_channels, check_input, four_pads, pair


class ConvLayer(nn.Module):
    """A layer that slides a window over [N, in_channels, H, W]; derived classes sum the terms.

    `padding` is one number, (height, width), or (top, left, bottom, right); the rest is as for
    torch.nn.Conv2d. Raises ValueError for arguments that do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int],
        padding: int | tuple[int, ...],
        dilation: int | tuple[int, int],
        groups: int,
        bias: bool,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels, groups)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.groups = groups
        self.window = Window(
            pair(kernel_size, "kernel_size"),
            pair(stride, "stride"),
            four_pads(padding),
            pair(dilation, "dilation"),
        )
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """[M, C/groups, kH, kW]."""
        return (
            self.out_channels,
            self.in_channels // self.groups,
            *self.window.kernel_shape,
        )

    @abstractmethod
    def sum_terms(self, x: Tensor) -> Tensor:
        """The layer without its bias: [N, C, H, W] to [N, M, OH, OW]."""

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.in_channels)
        out = self.sum_terms(x)
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)

    def extra_repr(self) -> str:
        w = self.window
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={w.kernel_shape}, "
            f"stride={w.strides}, pads={w.pads}, dilation={w.dilations}, groups={self.groups}"
        )

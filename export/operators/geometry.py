"""The sliding window shared by both operators: kernel size, strides, pads and dilations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Pads = tuple[int, int, int, int]


def pair(value: int | tuple[int, int], name: str, least: int = 1) -> tuple[int, int]:
    """One number or two as (height, width); ValueError below `least`."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or any(not isinstance(v, int) or v < least for v in both):
        raise ValueError(f"{name} must be one or two integers of at least {least}, got {value!r}")
    return both


def four_pads(value: int | tuple[int, ...], name: str = "padding") -> Pads:
    """`padding` as ONNX `pads`: (top, left, bottom, right).

    One number pads every side, two are (height, width) as in PyTorch, four are taken as they are.
    """
    sides = (value,) * 4 if isinstance(value, int) else tuple(value)
    if len(sides) == 2:
        sides = sides + sides
    if len(sides) != 4 or any(not isinstance(v, int) or v < 0 for v in sides):
        raise ValueError(f"{name} must be 1, 2 or 4 integers of at least 0, got {value!r}")
    top, left, bottom, right = sides
    return top, left, bottom, right


@dataclass(frozen=True)
class Window:
    """How a kernel moves over its input; the fields are the ONNX attributes of the same names."""

    kernel_shape: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a 1x1 kernel that visits every position once, so that the layer is a matrix
        product over channels."""
        return self.kernel_shape == (1, 1) and self.strides == (1, 1) and not any(self.pads)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Output height and width, as for ONNX `Conv`; ValueError where no output is left."""
        extents = []
        for axis, size in enumerate((height, width)):
            padded = size + self.pads[axis] + self.pads[axis + 2]
            reach = self.dilations[axis] * (self.kernel_shape[axis] - 1) + 1
            if padded < reach:
                raise ValueError(
                    f"a kernel that spans {reach} does not fit an input of {padded} "
                    f"(axis {axis}, padding included)"
                )
            extents.append((padded - reach) // self.strides[axis] + 1)
        return extents[0], extents[1]

    def pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        """`x` [N,C,H,W] with the pads filled in."""
        if not any(self.pads):
            return x
        top, left, bottom, right = self.pads
        return F.pad(x, (left, right, top, bottom), value=value)

    def conv2d(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        """An ordinary convolution over this window: x [N,C,H,W], weight [M,C/groups,kH,kW].

        Raises ValueError where no output is left.
        """
        self.output_size(x.shape[2], x.shape[3])
        top, left, bottom, right = self.pads
        if (top, left) == (bottom, right):
            return F.conv2d(x, weight, None, self.strides, (top, left), self.dilations, groups)
        return F.conv2d(self.pad(x), weight, None, self.strides, 0, self.dilations, groups)

    def patches(self, x: Tensor) -> Tensor:
        """im2col: x [N,C,H,W] to [N*OH*OW, C*kH*kW], columns in the order (c, kh, kw)."""
        if self.is_pointwise:
            return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        columns = F.unfold(self.pad(x), self.kernel_shape, self.dilations, 0, self.strides)
        return columns.transpose(1, 2).reshape(-1, columns.shape[1])


def check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    """ValueError unless `groups` divides both channel counts."""
    for name, count in (("in_channels", in_channels), ("out_channels", out_channels)):
        if groups < 1 or count < 1 or count % groups:
            raise ValueError(f"{name} {count} must be a positive multiple of groups {groups}")


def check_input(x: Tensor, channels: int) -> None:
    """ValueError unless x is [N, channels, H, W]."""
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(f"expected an input [N, {channels}, H, W], got {tuple(x.shape)}")


def kaiming_std(fan_in: int) -> float:
    """He initialisation for a layer before a ReLU (arXiv 1502.01852, eq. 10)."""
    return float(torch.tensor(2.0 / fan_in).sqrt())

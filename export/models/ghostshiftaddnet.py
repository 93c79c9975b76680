"""GhostShiftAddNet (arXiv 2109.09495): GhostNet without multiplications."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.models.blocks import conv_bn
from export.models.datasets import CIFAR10, IMAGENET
from export.models.registry import register
from export.operators import AdderConv2d, ShiftConv2d

_PAPER = "arXiv 2109.09495"

# As many exponents a channel as a 4-bit code has (docs/operators.md, section 2.1), so that weights
# pack into nibbles.
# _SHIFT_BITS only bounds how small a channel's largest weight may get.
_NIBBLE_SPAN = 7
_SHIFT_BITS = 6

# A step's size is eta times the learning rate: AdderNet's authors have 0.2 * 0.1, we 0.1 * 0.25.
_ADDER_ETA = 0.1


def shift_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> ShiftConv2d:
    """A "same"-padded shift convolution whose weights fit a nibble."""
    return ShiftConv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        kernel_size // 2,
        groups=groups,
        bias=bias,
        bits=_SHIFT_BITS,
        span=_NIBBLE_SPAN,
    )


class GhostSAModule(nn.Module):
    """The GhostSA block: intrinsic maps by a 1x1 shift convolution, the others from them.

    The others come of a depthwise shift convolution followed by a 1x1 adder layer, each with a
    BatchNorm. [N, in_channels, H, W] to [N, out_channels, H, W].

    Args:
        ratio: output maps for each intrinsic (shift) map. This is what is scheduled per platform:
            a larger ratio moves work from the shift layer to the adder layer.
        kernel_size: of the depthwise layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        ratio: int = 2,
        kernel_size: int = 3,
        activation: bool = True,
    ) -> None:
        super().__init__()
        intrinsic = math.ceil(out_channels / ratio)
        ghosts = out_channels - intrinsic
        spread = intrinsic * math.ceil(ghosts / intrinsic)
        self.primary = conv_bn(shift_conv(in_channels, intrinsic, 1), intrinsic, activation)
        self.depthwise = conv_bn(
            shift_conv(intrinsic, spread, kernel_size, groups=intrinsic), spread, False
        )
        self.adder = conv_bn(AdderConv2d(spread, ghosts, 1, eta=_ADDER_ETA), ghosts, activation)

    def forward(self, x: Tensor) -> Tensor:
        intrinsic = self.primary(x)
        return torch.cat([intrinsic, self.adder(self.depthwise(intrinsic))], 1)


class GhostSABottleneck(nn.Module):
    """Two GhostSA modules with a depthwise shift between them where the stride is 2."""

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        ratio: int,
    ) -> None:
        super().__init__()
        self.expand = GhostSAModule(in_channels, hidden, ratio=ratio)
        self.downsample = (
            conv_bn(shift_conv(hidden, hidden, kernel_size, stride, hidden), hidden, False)
            if stride > 1
            else nn.Identity()
        )
        self.project = GhostSAModule(hidden, out_channels, ratio=ratio, activation=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                *conv_bn(
                    shift_conv(in_channels, in_channels, kernel_size, stride, in_channels),
                    in_channels,
                    False,
                ),
                *conv_bn(shift_conv(in_channels, out_channels, 1), out_channels, False),
            )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.downsample(self.expand(x)))
        carried: Tensor = self.shortcut(x)
        return out + carried


@dataclass(frozen=True)
class Bottleneck:
    """One row of the layer table: kernel, expansion channels, output channels, stride."""

    kernel_size: int
    hidden: int
    out_channels: int
    stride: int


class GhostShiftAddNet(nn.Module):
    """Stem, GhostSA bottlenecks, a 1x1 head, global average pooling and a classifier.

    Every layer with weights is a ShiftConv2d or an AdderConv2d, the stem and the classifier
    included: no multiplication is left once the BatchNorms are folded into scales.

    Input [N, 3, H, W], output [N, classes].
    """

    def __init__(
        self,
        rows: Sequence[Bottleneck],
        *,
        stem: int,
        stem_stride: int,
        head: int,
        classes: int,
        ratio: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = conv_bn(shift_conv(3, stem, 3, stem_stride), stem)
        blocks: list[nn.Module] = []
        channels = stem
        for row in rows:
            blocks.append(
                GhostSABottleneck(
                    channels, row.hidden, row.out_channels, row.kernel_size, row.stride, ratio
                )
            )
            channels = row.out_channels
        self.blocks = nn.Sequential(*blocks)
        self.head = conv_bn(shift_conv(channels, head, 1), head)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = shift_conv(head, classes, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        features = self.pool(self.head(self.blocks(self.stem(x))))
        return torch.flatten(self.classifier(self.dropout(features)), 1)


@register(
    "ghostshiftaddnet",
    "GhostShiftAddNet for 32x32 images, CIFAR-10",
    CIFAR10,
    paper=_PAPER,
    weights="ghostshiftaddnet.safetensors",
)
def ghostshiftaddnet_cifar10() -> GhostShiftAddNet:
    """For 32x32 images, 10 classes.

    The stem keeps every position and 8x8 of them are left at the end, as in the ResNets for CIFAR
    (arXiv 1512.03385, section 4.2).
    """
    rows = [
        Bottleneck(3, 64, 64, 2),
        Bottleneck(3, 128, 64, 1),
        Bottleneck(3, 192, 128, 2),
        Bottleneck(3, 256, 128, 1),
        Bottleneck(3, 256, 128, 1),
        Bottleneck(3, 512, 256, 1),
        Bottleneck(3, 512, 256, 1),
    ]
    return GhostShiftAddNet(rows, stem=32, stem_stride=1, head=512, classes=10)


@register(
    "ghostshiftaddnet_small",
    "GhostShiftAddNet for 32x32 images, CIFAR-10, in a third of the terms",
    CIFAR10,
    paper=_PAPER,
    weights="ghostshiftaddnet_small.safetensors",
)
def ghostshiftaddnet_small_cifar10() -> GhostShiftAddNet:
    """For 32x32 images, 10 classes, in no more terms than the GhostNet beside it."""
    rows = [
        Bottleneck(3, 32, 32, 2),
        Bottleneck(3, 64, 32, 1),
        Bottleneck(3, 96, 64, 2),
        Bottleneck(3, 160, 64, 1),
        Bottleneck(3, 160, 64, 1),
        Bottleneck(3, 256, 128, 1),
        Bottleneck(3, 320, 128, 1),
    ]
    return GhostShiftAddNet(rows, stem=16, stem_stride=1, head=384, classes=10)


@register(
    "ghostshiftaddnet_imagenet",
    "GhostShiftAddNet for 224x224 images, 1000 classes, untrained",
    IMAGENET,
    paper=_PAPER,
)
def ghostshiftaddnet_imagenet() -> GhostShiftAddNet:
    """For 224x224 images, 1000 classes: GhostNet's stages in half the rows, a third of its size."""
    rows = [
        Bottleneck(3, 48, 24, 2),
        Bottleneck(5, 72, 40, 2),
        Bottleneck(3, 160, 80, 2),
        Bottleneck(3, 160, 80, 1),
        Bottleneck(3, 240, 112, 1),
        Bottleneck(5, 336, 160, 2),
        Bottleneck(5, 480, 160, 1),
        Bottleneck(5, 480, 160, 1),
    ]
    return GhostShiftAddNet(rows, stem=16, stem_stride=2, head=960, classes=1000)

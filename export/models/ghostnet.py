"""GhostNet (arXiv 1911.11907) as its authors define it: the multiplying baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.models.blocks import SqueezeExcite, conv_bn, make_divisible
from export.models.datasets import CIFAR10, IMAGENET
from export.models.registry import register

_PAPER = "arXiv 1911.11907"


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
    )


class GhostModule(nn.Module):
    """Intrinsic maps by a 1x1 convolution, the others by a depthwise one on them (section 3.1)."""

    def __init__(self, in_channels: int, out_channels: int, *, activation: bool = True) -> None:
        super().__init__()
        self.out_channels = out_channels
        intrinsic = math.ceil(out_channels / 2)
        self.primary = conv_bn(_conv(in_channels, intrinsic, 1), intrinsic, activation)
        self.cheap = conv_bn(
            _conv(intrinsic, intrinsic, 3, groups=intrinsic), intrinsic, activation
        )

    def forward(self, x: Tensor) -> Tensor:
        intrinsic = self.primary(x)
        return torch.cat([intrinsic, self.cheap(intrinsic)], 1)[:, : self.out_channels]


@dataclass(frozen=True)
class Bottleneck:
    """One row of the authors' table: kernel, expansion, output channels, SE ratio, stride."""

    kernel_size: int
    hidden: int
    out_channels: int
    se_ratio: float
    stride: int


class GhostBottleneck(nn.Module):
    """Ghost (expand), depthwise where the stride is 2, SE, ghost (project), shortcut (fig. 3)."""

    def __init__(self, in_channels: int, row: Bottleneck) -> None:
        super().__init__()
        hidden, out, stride = row.hidden, row.out_channels, row.stride
        self.expand = GhostModule(in_channels, hidden)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            self.downsample = conv_bn(
                _conv(hidden, hidden, row.kernel_size, stride, hidden), hidden, False
            )
        self.se = SqueezeExcite(hidden, row.se_ratio) if row.se_ratio else nn.Identity()
        self.project = GhostModule(hidden, out, activation=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out:
            depthwise = _conv(in_channels, in_channels, row.kernel_size, stride, in_channels)
            self.shortcut = nn.Sequential(
                *conv_bn(depthwise, in_channels, False),
                *conv_bn(_conv(in_channels, out, 1), out, False),
            )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.se(self.downsample(self.expand(x))))
        carried: Tensor = self.shortcut(x)
        return out + carried


class GhostNet(nn.Module):
    """Stem, ghost bottlenecks, 1x1 head, pooling, a wide 1x1 layer and the classifier.

    Input [N, 3, H, W], output [N, classes].
    """

    def __init__(
        self,
        rows: Sequence[Bottleneck],
        *,
        classes: int,
        stem: int = 16,
        stem_stride: int = 2,
        wide: int = 1280,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.stem = conv_bn(_conv(3, stem, 3, stem_stride), stem)
        blocks: list[nn.Module] = []
        channels = stem
        for row in rows:
            blocks.append(GhostBottleneck(channels, row))
            channels = row.out_channels
        self.blocks = nn.Sequential(*blocks)
        head = make_divisible(rows[-1].hidden)
        self.head = conv_bn(_conv(channels, head, 1), head)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.wide = nn.Sequential(nn.Conv2d(head, wide, 1), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.wide(self.pool(self.head(self.blocks(self.stem(x)))))
        logits: Tensor = self.classifier(self.dropout(torch.flatten(features, 1)))
        return logits


@register(
    "ghostnet",
    "GhostNet 1.0x for 224x224 images, 1000 classes, untrained",
    IMAGENET,
    paper=_PAPER,
)
def ghostnet_imagenet() -> GhostNet:
    """GhostNet 1.0x: 224x224, 1000 classes, 5.2 M parameters (table 1 of the paper)."""
    rows = [
        Bottleneck(3, 16, 16, 0, 1),
        Bottleneck(3, 48, 24, 0, 2),
        Bottleneck(3, 72, 24, 0, 1),
        Bottleneck(5, 72, 40, 0.25, 2),
        Bottleneck(5, 120, 40, 0.25, 1),
        Bottleneck(3, 240, 80, 0, 2),
        Bottleneck(3, 200, 80, 0, 1),
        Bottleneck(3, 184, 80, 0, 1),
        Bottleneck(3, 184, 80, 0, 1),
        Bottleneck(3, 480, 112, 0.25, 1),
        Bottleneck(3, 672, 112, 0.25, 1),
        Bottleneck(5, 672, 160, 0.25, 2),
        Bottleneck(5, 960, 160, 0, 1),
        Bottleneck(5, 960, 160, 0.25, 1),
        Bottleneck(5, 960, 160, 0, 1),
        Bottleneck(5, 960, 160, 0.25, 1),
    ]
    return GhostNet(rows, classes=1000)


@register(
    "ghostnet_cifar10",
    "GhostNet for 32x32 images, CIFAR-10: the multiplying baseline",
    CIFAR10,
    paper=_PAPER,
    weights="ghostnet_cifar10.safetensors",
)
def ghostnet_cifar10() -> GhostNet:
    """GhostNet 1.0x cut down to 32x32 images.

    Rows of the authors' table: one of each run of equals, the strides of the second and the fourth
    stage 1, so that 4x4 positions are left at the end; half the wide layer for ten classes.
    """
    rows = [
        Bottleneck(3, 48, 24, 0, 1),
        Bottleneck(3, 72, 24, 0, 1),
        Bottleneck(5, 72, 40, 0.25, 2),
        Bottleneck(5, 120, 40, 0.25, 1),
        Bottleneck(3, 240, 80, 0, 1),
        Bottleneck(3, 184, 80, 0, 1),
        Bottleneck(3, 480, 112, 0.25, 1),
        Bottleneck(5, 672, 160, 0.25, 2),
        Bottleneck(5, 960, 160, 0.25, 1),
    ]
    return GhostNet(rows, classes=10, wide=640)

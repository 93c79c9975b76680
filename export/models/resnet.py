"""ResNets for 32x32 images (arXiv 1512.03385, section 4.2), of any convolution-like layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from export.models.blocks import conv_bn
from export.models.datasets import CIFAR10
from export.models.ghostshiftaddnet import shift_conv
from export.models.registry import register
from export.operators import AdderConv2d
from export.operators.batch_norm import BatchNorm2d

_PAPER = "arXiv 1512.03385"

_RESNET20_WIDTHS = (16, 32, 64)

# About 2.3 M parameters: in float16 the file stays below 5 MB.
_TEACHER_WIDTHS = (64, 128, 224)


class MakeLayer(Protocol):
    """Makes a layer [N, C, H, W] to [N, M, H/stride, W/stride] that a BatchNorm follows."""

    def __call__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> nn.Module: ...


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> nn.Module:
    """A "same"-padded convolution without a bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)


def adder(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Module:
    """A "same"-padded adder layer (AdderNet, arXiv 1912.13200)."""
    return AdderConv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)


def shift_add(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Module:
    """A shift layer, a BatchNorm and a 1x1 adder layer (after ShiftAddNet, arXiv 2010.12785).

    The authors have no BatchNorm between the two; without one the adder's weights would have to
    grow into the range of the shift layer's sums.
    """
    return nn.Sequential(
        shift_conv(in_channels, out_channels, kernel_size, stride),
        BatchNorm2d(out_channels),
        AdderConv2d(out_channels, out_channels, 1),
    )


class BasicBlock(nn.Module):
    """Two 3x3 layers and a shortcut, which is a 1x1 layer where the shapes differ (figure 2)."""

    def __init__(
        self, make: MakeLayer, project: MakeLayer, in_channels: int, out_channels: int, stride: int
    ) -> None:
        super().__init__()
        self.first = conv_bn(make(in_channels, out_channels, 3, stride), out_channels)
        self.second = conv_bn(make(out_channels, out_channels, 3), out_channels, False)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            layer = project(in_channels, out_channels, 1, stride)
            self.shortcut = conv_bn(layer, out_channels, False)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        carried: Tensor = self.shortcut(x)
        out: Tensor = self.activation(self.second(self.first(x)) + carried)
        return out


class ResNet(nn.Module):
    """Stem, three stages at full, half and quarter size, global average pooling and a classifier.

    Input [N, 3, H, W], output [N, classes].

    Args:
        make: of the blocks' 3x3 layers.
        outer: of the stem and of the 1x1 layers in shortcuts.
        classifier: [N, widths[-1], 1, 1] to [N, classes, 1, 1].
    """

    def __init__(
        self,
        make: MakeLayer,
        outer: MakeLayer,
        classifier: Callable[[int, int], nn.Module],
        *,
        stem: int,
        widths: Sequence[int],
        blocks: int,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.stem = conv_bn(outer(3, stem, 3), stem)
        stages: list[nn.Module] = []
        channels = stem
        for i, width in enumerate(widths):
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                stages.append(BasicBlock(make, outer, channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.pool(self.blocks(self.stem(x)))), 1)


def _dense_classifier(channels: int, classes: int) -> nn.Module:
    return nn.Conv2d(channels, classes, 1)


def _shift_classifier(channels: int, classes: int) -> nn.Module:
    return shift_conv(channels, classes, 1, bias=True)


@register(
    "resnet20_cifar10",
    "ResNet-20 for 32x32 images, CIFAR-10: the yardstick",
    CIFAR10,
    paper=_PAPER,
    weights="resnet20_cifar10.safetensors",
)
def resnet20_cifar10() -> ResNet:
    """ResNet-20 with 1x1 convolutions in the shortcuts: 272,474 parameters."""
    return ResNet(
        convolution, convolution, _dense_classifier, stem=16, widths=_RESNET20_WIDTHS, blocks=3
    )


@register(
    "resnet20_shift",
    "ResNet-20 of shift layers for 32x32 images, CIFAR-10, untrained",
    CIFAR10,
    paper="arXiv 1905.13298",
)
def resnet20_shift() -> ResNet:
    """ResNet-20 whose every weight is one signed power of two."""
    return ResNet(
        shift_conv, shift_conv, _shift_classifier, stem=16, widths=_RESNET20_WIDTHS, blocks=3
    )


@register(
    "resnet20_adder",
    "ResNet-20 of adder layers for 32x32 images, CIFAR-10, untrained",
    CIFAR10,
    paper="arXiv 1912.13200",
)
def resnet20_adder() -> ResNet:
    """ResNet-20 of adder layers; stem and classifier stay convolutions, as AdderNet's do."""
    return ResNet(adder, convolution, _dense_classifier, stem=16, widths=_RESNET20_WIDTHS, blocks=3)


@register(
    "resnet20_shiftadd",
    "ResNet-20 of shift and adder layers for 32x32 images, CIFAR-10, untrained",
    CIFAR10,
    paper="arXiv 2010.12785",
)
def resnet20_shiftadd() -> ResNet:
    """ResNet-20 whose 3x3 layers are a shift layer and an adder layer each; no multiplication."""
    return ResNet(
        shift_add, shift_conv, _shift_classifier, stem=16, widths=_RESNET20_WIDTHS, blocks=3
    )


@register(
    "teacher_cifar10",
    "A wide ResNet for 32x32 images, CIFAR-10, that the others are distilled from",
    CIFAR10,
    paper=_PAPER,
    weights="teacher_cifar10.safetensors",
)
def teacher_cifar10() -> ResNet:
    """What the others are distilled from: two blocks a stage, wide."""
    return ResNet(
        convolution, convolution, _dense_classifier, stem=32, widths=_TEACHER_WIDTHS, blocks=2
    )

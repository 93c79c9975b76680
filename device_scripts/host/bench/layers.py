"""The layers that are measured: the layers of the networks that the toolchain is made for, each
shape once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.models import find_model
from export.operators import AdderConv2d, ShiftConv2d


@dataclass(frozen=True)
class Layer:
    """One convolution's shape, for a batch of one; padding keeps the extent where the stride is 1.

    Attributes:
        height, width: the input's extent.
        kernel: height and width of the window.
    """

    channels: int
    out_channels: int
    height: int
    width: int
    kernel: int
    stride: int = 1
    group: int = 1

    @property
    def out_extent(self) -> tuple[int, int]:
        """Height and width of the output."""
        pad = self.kernel // 2
        height, width = (
            (extent + 2 * pad - self.kernel) // self.stride + 1
            for extent in (self.height, self.width)
        )
        return height, width

    @property
    def terms(self) -> int:
        """The number of products or differences that the layer sums up."""
        height, width = self.out_extent
        return self.out_channels * height * width * self.channels // self.group * self.kernel**2

    def __str__(self) -> str:
        group = f" g{self.group}" if self.group > 1 else ""
        stride = f" /{self.stride}" if self.stride > 1 else ""
        return (
            f"{self.channels}->{self.out_channels} {self.kernel}x{self.kernel} "
            f"{self.height}x{self.width}{stride}{group}"
        )


NAMED = {
    "A": Layer(64, 64, 32, 32, 1),
    "B": Layer(64, 64, 32, 32, 3),
    "C": Layer(128, 256, 14, 14, 3),
    "D": Layer(120, 120, 28, 28, 3, group=120),
}
"""The shapes that have to reach a given speed."""

GROUPED = [Layer(64, 64, 28, 28, 3, group=4), Layer(32, 64, 28, 28, 3, group=32)]
"""A grouped layer, and a depthwise one with two outputs for each channel: the networks have no
layers for these families of kernels."""


def resnet20() -> list[Layer]:
    """The 3x3 layers of ResNet-20 for CIFAR-10 (arXiv 1512.03385, section 4.2)."""
    layers = [Layer(3, 16, 32, 32, 3)]
    for channels, extent in ((16, 32), (32, 16), (64, 8)):
        layers.append(Layer(channels, channels, extent, extent, 3))
        if channels < 64:
            layers.append(Layer(channels, 2 * channels, extent, extent, 3, stride=2))
    return layers


def model_layers(name: str) -> list[Layer]:
    """The convolutions of a registered model in their order, repetitions included."""
    spec = find_model(name)
    return network_layers(spec.build().eval(), spec.input_size)


def network_layers(model: nn.Module, input_size: tuple[int, int, int]) -> list[Layer]:
    """The convolutions of a network in eval mode in their order, repetitions included."""
    found: list[Layer] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], _out: Tensor) -> None:
        _, channels, height, width = inputs[0].shape
        if isinstance(module, nn.Conv2d):
            kernel, stride = module.kernel_size[0], module.stride[0]
        else:
            assert isinstance(module, (ShiftConv2d, AdderConv2d))
            kernel, stride = module.window.kernel_shape[0], module.window.strides[0]
        found.append(
            Layer(channels, module.out_channels, height, width, kernel, stride, module.groups)
        )

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, ShiftConv2d, AdderConv2d)):
            module.register_forward_hook(note)
    with torch.no_grad():
        model(torch.zeros(1, *input_size))
    return found


def all_layers() -> list[Layer]:
    """Every distinct shape, the named ones first."""
    every = [*NAMED.values(), *GROUPED, *resnet20()]
    for model in ("ghostnet", "ghostshiftaddnet_imagenet"):
        every += model_layers(model)
    return list(dict.fromkeys(every))

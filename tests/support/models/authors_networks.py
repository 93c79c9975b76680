"""Networks of the field as their authors compose them, of `authors`' layers, smaller or as deep.

Their shapes are those of AdderNet's, DeepShift's and ShiftAddNet's ResNet-20 for CIFAR-10, of
GhostShiftAddNet's GhostSA blocks, each in its own schedule, and of ShiftAddNet's sensor network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.models.authors import (
    Adder2D,
    Conv2dShift,
    Conv2dShiftQ,
    LinearShift,
    LinearShiftQ,
    SEConv2d,
    adder2d,
)

Conv = Callable[..., nn.Module]


class BasicBlock(nn.Module):
    """ResNet's block of two 3x3 layers; `conv(cin, cout, k, stride, padding)` gives a layer."""

    def __init__(self, conv: Conv, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, planes, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = nn.Sequential()
        if stride > 1 or channels != planes:
            self.downsample = nn.Sequential(
                conv(channels, planes, 1, stride, 0), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.downsample(x))


class ResNet20(nn.Module):
    """3 stages of 3 blocks on [N,3,32,32]; the head is a `view` and `fc(64, 10)`."""

    def __init__(self, conv: Conv, fc: Conv, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        layers: list[nn.Module] = []
        channels = 16
        for stage, planes in enumerate((16, 32, 64)):
            for index in range(blocks):
                stride = 2 if stage and not index else 1
                layers.append(BasicBlock(conv, channels, planes, stride))
                channels = planes
        self.layers = nn.Sequential(*layers)
        self.avgpool = nn.AvgPool2d(8, stride=1)
        self.fc = fc(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.layers(F.relu(self.bn1(self.conv1(x)))))
        out: Tensor = self.fc(x.view(x.size(0), -1))
        return out


def shift_add(channels: int, planes: int, k: int, stride: int, padding: int) -> nn.Module:
    """ShiftAddNet's pair: a shift layer, then a 1x1 adder (arXiv 2010.12785)."""
    shift = Conv2dShift(channels, planes, k, stride, padding, bias=False, threshold=0.3)
    return nn.Sequential(shift, Adder2D(planes, planes, 1))


def addernet(blocks: int = 3) -> nn.Module:
    return ResNet20(adder2d, nn.Linear, blocks)


def deepshift_ps(bits: int, blocks: int = 3) -> nn.Module:
    conv, linear = partial(Conv2dShift, weight_bits=bits), partial(LinearShift, weight_bits=bits)
    return ResNet20(conv, linear, blocks)


def deepshift_q(bits: int, blocks: int = 3) -> nn.Module:
    conv, linear = partial(Conv2dShiftQ, weight_bits=bits), partial(LinearShiftQ, weight_bits=bits)
    return ResNet20(conv, linear, blocks)


def shiftaddnet(blocks: int = 3) -> nn.Module:
    return ResNet20(shift_add, nn.Linear, blocks)


def _shift(channels: int, planes: int, k: int = 1, stride: int = 1, groups: int = 1) -> nn.Module:
    """What GhostShiftAddNet's conversion makes of a convolution: PS, 5 bits."""
    return Conv2dShift(
        channels, planes, k, stride, k // 2, groups=groups, bias=False, threshold=0.3,
        quant_bits=32,
    )  # fmt: skip


def _adder(channels: int, planes: int, k: int = 1, stride: int = 1) -> nn.Module:
    return Adder2D(channels, planes, k, stride, k // 2, groups=channels, full=True)


class GhostSA(nn.Module):
    """Intrinsic maps, then the cheap ones from them; concatenated and cropped to `planes`."""

    def __init__(
        self, primary: Sequence[nn.Module], cheap: Sequence[nn.Module], planes: int
    ) -> None:
        super().__init__()
        self.primary_conv, self.cheap_operation = nn.Sequential(*primary), nn.Sequential(*cheap)
        self.planes = planes

    def forward(self, x: Tensor) -> Tensor:
        first = self.primary_conv(x)
        out = torch.cat([first, self.cheap_operation(first)], dim=1)
        return out[:, : self.planes, :, :]


def _mobilenet(c: int, planes: int) -> GhostSA:
    i = math.ceil(planes / 2)
    primary = [_shift(c, i), nn.BatchNorm2d(i)]
    cheap = [_shift(i, i, 3, groups=i), nn.BatchNorm2d(i), _adder(i, i), nn.BatchNorm2d(i)]
    return GhostSA(primary, cheap, planes)


def _shufflenet_gpu(c: int, planes: int) -> GhostSA:
    i = math.ceil(planes / 2)
    primary = [_shift(c, i), nn.BatchNorm2d(i), nn.ReLU()]
    cheap = [_shift(i, i, 3, groups=i), _adder(i, i), nn.BatchNorm2d(i), nn.ReLU()]
    return GhostSA(primary, cheap, planes)


def _shufflenet_cpu(c: int, planes: int, share: float = 0.5) -> GhostSA:
    i = math.ceil(planes * share)
    primary = [_adder(c, i, 3), nn.BatchNorm2d(i), nn.ReLU()]
    cheap = [_shift(i, planes - i, 3), nn.BatchNorm2d(planes - i), nn.ReLU()]
    return GhostSA(primary, cheap, planes)


def _ghostnet(c: int, planes: int) -> GhostSA:
    i = math.ceil(planes / 2)
    primary = [_shift(c, i, 3), nn.BatchNorm2d(i)]
    cheap = [_shift(i, i, 3, groups=i), _adder(i, i), nn.BatchNorm2d(i), nn.Hardswish()]
    return GhostSA(primary, cheap, planes)


def _resnet(c: int, planes: int) -> GhostSA:
    i = math.ceil(planes / 10)
    primary = [_shift(c, i), nn.BatchNorm2d(i), _shift(i, i, 3, groups=i), nn.BatchNorm2d(i)]
    cheap = [_adder(i, 9 * i, 3), nn.BatchNorm2d(9 * i), nn.ReLU()]
    return GhostSA(primary, cheap, planes)


GHOST_SA = {
    "mobilenetv3": _mobilenet,
    "shufflenetv2_gpu": _shufflenet_gpu,
    "shufflenetv2_cpu": _shufflenet_cpu,
    "ghostnet": _ghostnet,
    "resnet20": _resnet,
}
"""GhostShiftAddNet's five schedules of the block, by the backbone whose file has it."""


class GhostShiftAddNet(nn.Module):
    """Blocks of one schedule between the authors' stem and head, for [N,3,32,32].

    A block is followed by what that backbone does: max-pooling in place of a stride, a rotation of
    the channels (ShuffleNetV2), a hard swish used as a gate (MobileNetV3).
    """

    def __init__(self, schedule: str) -> None:
        super().__init__()
        block = GHOST_SA[schedule]
        self.schedule = schedule
        self.stem = nn.Sequential(_shift(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        self.block1, self.block2, self.block3 = block(16, 24), block(24, 40), block(40, 64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.gate = nn.Conv2d(40, 40, 1)
        self.depthwise = nn.Sequential(_shift(64, 64, 3, 1, 64), nn.BatchNorm2d(64), nn.ReLU())
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.block1(self.stem(x)))
        x = self.block2(x)
        if self.schedule.startswith("shufflenet"):
            x = torch.cat([x[:, 30:], x[:, :30]], 1)
        else:
            x = x * F.hardswish(self.gate(F.adaptive_avg_pool2d(x, 1)))
        x = self.depthwise(self.block3(self.pool(x)))
        out: Tensor = self.classifier(x.mean(3).mean(2))
        return out


class SensorNetwork(nn.Module):
    """ShiftAddNet's for MHEALTH, [N,1,250,254]: two pairs, and a classifier on a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(SEConv2d(1, 5, 5), Adder2D(5, 5, 1))
        self.bn1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Sequential(SEConv2d(5, 10, 5), Adder2D(10, 10, 1))
        self.bn2 = nn.BatchNorm2d(10)
        self.pool1, self.pool2 = nn.MaxPool2d(4), nn.MaxPool2d(2)
        self.fc1 = SEConv2d(8120, 12, 1)
        self.fc2 = nn.BatchNorm2d(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = self.pool2(F.relu(self.bn2(self.conv2(x))))
        x = self.fc1(x.view(x.size(0), -1).unsqueeze(2).unsqueeze(3))
        out: Tensor = self.fc2(x).view(x.size(0), -1)
        return out


def settle(network: nn.Module, size: tuple[int, int, int], count: int = 8) -> nn.Module:
    """The network in eval mode, its BatchNorms with the statistics of random images.

    Their weights are drawn, so that folding shows; a running variance is kept above a share of the
    squared mean: what an adder's far mean leaves of float32 would otherwise be its rounding alone.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.5)
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(count, *size))
    for norm in norms:
        assert norm.running_var is not None
        assert norm.running_mean is not None
        norm.running_var.clamp_(min=1e-6).clamp_(min=(norm.running_mean / 5).square())
    return network.eval()

"""Parts that the families share: channel rounding, the SE block, a layer with its BatchNorm."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from export.operators.batch_norm import BatchNorm2d


def make_divisible(value: float, divisor: int = 4) -> int:
    """`value` rounded to a multiple of `divisor`, never by more than 10 % down (MobileNetV2)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class SqueezeExcite(nn.Module):
    """Channel attention (arXiv 1709.01507) with GhostNet's hard sigmoid: [N,C,H,W] to the same."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        reduced = make_divisible(channels * ratio)
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * F.relu6(self.expand(gate) + 3.0) / 6.0


def conv_bn(conv: nn.Module, channels: int, activation: bool = True) -> nn.Sequential:
    """A convolution-like layer, its BatchNorm and, where asked for, a ReLU."""
    layers = [conv, BatchNorm2d(channels)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activation else []))

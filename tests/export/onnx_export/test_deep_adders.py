"""Fifty adder layers: what float32 leaves of a file's outputs behind that many cancelling sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.onnx_export.model import Target, export_model
from export.operators import AdderConv2d
from tests.support.models.exported import make_spec, reference, relative_error, run_onnxruntime

SIZE = (3, 16, 16)
TOLERANCE = 1e-4


class Block(nn.Module):
    """Two adders and a shortcut of padded channels ("option A", arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = AdderConv2d(inputs, outputs, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = AdderConv2d(outputs, outputs, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.added:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return F.relu(x + y)


class AdderResNet(nn.Module):
    """A ResNet of `6 * blocks + 2` layers, as AdderNet's authors have theirs for CIFAR
    (arXiv 1912.13200): adders between an ordinary first and last layer."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        widths = [8] * blocks + [16] * blocks + [32] * blocks
        before = [8, *widths[:-1]]
        self.layers = nn.Sequential(
            *(Block(i, o, 1 + (i != o)) for i, o in zip(before, widths, strict=True))
        )
        self.fc = nn.Conv2d(32, 7, 1)
        self.bn2 = nn.BatchNorm2d(7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(F.relu(self.bn1(self.conv1(x))))
        x = self.bn2(self.fc(F.avg_pool2d(x, x.size(3))))
        return x.view(x.size(0), -1)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """With BatchNorms whose statistics are those of real activations."""
    model = AdderResNet(8)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
            layer.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(32, *SIZE))
    return model.eval()


@pytest.mark.parametrize("target", ["jetson-nano", "standard"])
def test_fifty_adder_layers(network: nn.Module, target: Target, operator_library: Path) -> None:
    assert sum(isinstance(layer, AdderConv2d) for layer in network.modules()) == 48
    model = export_model(network, make_spec(SIZE), target)
    images = np.random.default_rng().normal(size=(3, *SIZE)).astype(np.float32)
    library = operator_library if target == "jetson-nano" else None
    for batch in (images, images[:1]):
        out = run_onnxruntime(model, batch, library)
        assert relative_error(out, reference(network, batch)) < TOLERANCE

"""Networks, references and engines for the exporter's tests."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from export.models.registry import ModelSpec
from export.operators import AdderConv2d, ShiftConv2d

Array = npt.NDArray[Any]

SIZE = (3, 17, 19)
CLASSES = 7


class TinyNet(nn.Module):
    """Every kind of layer, geometry and activation that an export has to get right, once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ShiftConv2d(3, 8, 3, 2, (1, 0, 2, 1), min_exponent=-6), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.depthwise = nn.Sequential(
            ShiftConv2d(8, 8, 3, padding=2, dilation=2, groups=8, mode="ps", bits=4),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
        )
        self.grouped = nn.Sequential(
            ShiftConv2d(8, 12, (1, 3), padding=(0, 1), groups=2, bias=True), nn.ReLU6()
        )
        self.adder = nn.Sequential(
            AdderConv2d(12, 8, 3, padding=(0, 1, 1, 2), dilation=(1, 2), groups=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
        self.pointwise = nn.Sequential(AdderConv2d(8, 8, 1, bias=True), nn.BatchNorm2d(8))
        self.plain = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = ShiftConv2d(8, CLASSES, 1, bias=True, min_exponent=-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.adder(self.grouped(self.depthwise(self.stem(x))))
        x = self.pointwise(x) + self.plain(x)
        return torch.flatten(self.classifier(self.pool(x)), 1)


def randomise(network: nn.Module, size: tuple[int, int, int] = SIZE) -> nn.Module:
    """Fresh weights of every code, biases, and BatchNorms with statistics of real activations.

    Float weights of shift layers lie clear of the boundary between two powers of two, where
    float32 and float64 may round to different ones.
    """
    for layer in network.modules():
        if isinstance(layer, ShiftConv2d):
            _randomise_shift(layer)
        bias = getattr(layer, "bias", None)
        if isinstance(bias, Tensor):
            nn.init.normal_(bias)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(8, *size))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            _limit_cancellation(layer)
    return network.eval()


def _limit_cancellation(norm: nn.BatchNorm2d) -> None:
    """Keeps the mean within 5 deviations: an adder's output may lie hundreds away from 0, and
    what its BatchNorm leaves of it is then float32's rounding, in PyTorch too."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_var.clamp_(min=(norm.running_mean / 5).square())


@torch.no_grad()
def _randomise_shift(layer: ShiftConv2d) -> None:
    if layer.mode == "ps":
        layer.shift.copy_(torch.randint(layer.min_exponent, 1, layer.shift.shape))
        layer.shift.add_(torch.empty_like(layer.shift).uniform_(-0.4, 0.4))
        layer.sign.copy_(torch.randint(-1, 2, layer.sign.shape))
        return
    exponent = torch.randint(layer.min_exponent, 1, layer.weight.shape)
    sign = torch.randint(-1, 2, layer.weight.shape)
    spread = torch.empty_like(layer.weight).uniform_(0.8, 1.25)
    layer.weight.copy_(torch.ldexp(sign.float(), exponent) * spread)


def make_spec(size: tuple[int, int, int] = SIZE, name: str = "tiny") -> ModelSpec:
    """A registry entry for a network of these tests."""
    labels = tuple(f"label {i}" for i in range(CLASSES))
    means, stds = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    return ModelSpec(name, "", TinyNet, size, max(24, *size[1:]), means, stds, labels, None)


def reference(network: nn.Module, x: Array) -> Array:
    """What `network` computes in float64."""
    with torch.no_grad():
        out: Tensor = copy.deepcopy(network).double()(torch.from_numpy(x).double())
    return out.numpy()


def run_onnxruntime(model: onnx.ModelProto, x: Array, library: Path | None = None) -> Array:
    """The logits by ONNX Runtime, with the operator library where one is given.

    They are written over NaNs, so that a forgotten element shows.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if library is not None:
        options.register_custom_ops_library(str(library))
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    dims = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim[1:]]
    out = np.full((len(x), *dims), np.nan, np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("input", np.ascontiguousarray(x))
    binding.bind_output("logits", "cpu", 0, np.float32, out.shape, out.ctypes.data)
    session.run_with_iobinding(binding)
    return out


def run_reference_evaluator(model: onnx.ModelProto, x: Array) -> Array:
    """The logits by ONNX's reference implementation."""
    (out,) = ReferenceEvaluator(model).run(None, {"input": x})
    return np.asarray(out)


def relative_error(out: Array, expected: Array) -> float:
    """||out - expected|| / ||expected||; NaN where an element is missing."""
    assert out.shape == expected.shape
    return float(np.linalg.norm(out - expected) / np.linalg.norm(expected))


def custom_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The model's nodes of the contract."""
    return [node for node in model.graph.node if node.domain == "shiftadd"]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes, strings as str."""
    values = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}

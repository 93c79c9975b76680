"""The quantized graph: what becomes of each node, and how far it is from the float graph."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from calibration.quantization import Range, grid_over
from calibration.quantize import quantize_model
from calibration.table import Table
from calibration.weights import quantize_adder
from device_scripts.host.a57 import system
from export import export_model
from export.checkpoint import load_model
from export.models import find_model
from export.operators import AdderConv2d, ShiftConv2d
from runtime.core.errors import ModelError
from runtime.core.metadata import PREFIX
from tests.support.models.exported import CLASSES, SIZE, TinyNet, make_spec, randomise
from tests.support.toolchains.cpp_programs import jetson_nano_library, run

Array = npt.NDArray[Any]

IMAGES = 16


class Residual(nn.Module):
    """What GhostShiftAddNets are made of: a concatenation of a shift and an adder, and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ShiftConv2d(3, 8, 3, 2, 1, min_exponent=-6), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.depthwise = nn.Sequential(
            ShiftConv2d(8, 8, 3, padding=1, groups=8, mode="ps", bits=4), nn.BatchNorm2d(8)
        )
        self.adder = nn.Sequential(AdderConv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.project = nn.Sequential(ShiftConv2d(16, 8, 1, mode="ps", bits=4), nn.BatchNorm2d(8))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = ShiftConv2d(8, CLASSES, 1, bias=True, min_exponent=-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        both = torch.cat([x, self.adder(self.depthwise(x))], 1)
        return torch.flatten(self.classifier(self.pool(self.project(both) + x)), 1)


class Excited(nn.Module):
    """A squeeze and excitation: a product with one factor a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ShiftConv2d(3, 8, 3, 2, 1, min_exponent=-6), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.excite = nn.Sequential(
            ShiftConv2d(8, 8, 1, bias=True, min_exponent=-6), nn.Hardsigmoid()
        )
        self.classifier = ShiftConv2d(8, CLASSES, 1, bias=True, min_exponent=-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return torch.flatten(self.classifier(self.pool(x * self.excite(self.pool(x)))), 1)


def exported(network: nn.Module) -> onnx.ModelProto:
    return export_model(randomise(network), make_spec(), "jetson-nano")


def session(model: onnx.ModelProto, library: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library))
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def all_values(model: onnx.ModelProto, library: Path, x: Array) -> dict[str, Array]:
    """Every value of the float graph."""
    wider = onnx.ModelProto()
    wider.CopyFrom(model)
    known = {value.name for value in wider.graph.output}
    names = [name for node in wider.graph.node for name in node.output]
    wider.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names if name not in known
    )
    values = session(wider, library).run(names, {"input": x})
    return {"input": x, **dict(zip(names, values, strict=True))}


def table_of(values: Mapping[str, Array]) -> Table:
    ranges = {name: Range(float(v.min()), float(v.max())) for name, v in values.items()}
    return Table("tiny", "", "minmax", IMAGES, "", ranges)


def quantized(
    model: onnx.ModelProto, library: Path, x: Array, keep_float: tuple[str, ...] = ()
) -> onnx.ModelProto:
    return quantize_model(model, table_of(all_values(model, library, x)), keep_float)


def images() -> Array:
    return np.random.default_rng().normal(size=(IMAGES, *SIZE)).astype(np.float32)


def noise_ratio(out: Array, expected: Array) -> float:
    """||out - expected|| / ||expected - its mean||."""
    return float(np.linalg.norm(out - expected) / np.linalg.norm(expected - expected.mean()))


def test_a_residual_network_is_integer_throughout(operator_library: Path) -> None:
    model = quantized(exported(Residual()), operator_library, images())
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds == {
        "QLinearShiftConv": 4,
        "QLinearAdderConv": 1,
        "Concat": 1,
        "QLinearAdd": 1,
        "QLinearGlobalAveragePool": 1,
        # At the graph's two ends.
        "QuantizeLinear": 1,
        "DequantizeLinear": 1,
        "Transpose": 2,
        "Flatten": 1,
    }
    layouts = [
        helper.get_attribute_value(entry)
        for node in model.graph.node
        for entry in node.attribute
        if entry.name == "layout"
    ]
    assert layouts == [b"NHWC"] * 5
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties[PREFIX + "operators"] == (
        '["QLinearAdd", "QLinearAdderConv", "QLinearShiftConv"]'
    )


@pytest.mark.parametrize("network", [Residual, TinyNet, Excited])
def test_quantized_logits_are_near_the_float_ones(
    operator_library: Path, network: type[nn.Module]
) -> None:
    """A tensor's rounding is 1/255/sqrt(12) of its range, about 1 % of its deviation; what a few of
    them in a row come to depends on the random weights: a network whose logits hardly vary has more
    noise in them. So it is the median of several."""
    ratios = []
    for _ in range(7):
        float_model, x = exported(network()), images()
        model = quantized(float_model, operator_library, x)
        expected = session(float_model, operator_library).run(None, {"input": x})[0]
        out = session(model, operator_library).run(None, {"input": x})[0]
        ratios.append(noise_ratio(out, expected))
    assert np.median(ratios) < 0.05


def test_an_adder_behind_a_dead_layer_is_as_exact_as_its_codes(operator_library: Path) -> None:
    """Its input is 0 whatever the image, so that its output is its weights' alone: a step of the
    dead input that is not small against them would round them away."""
    network, x = randomise(Residual()), images()
    with torch.no_grad():
        for parameter in network.get_submodule("depthwise.1").parameters():
            parameter.zero_()
    float_model = export_model(network, make_spec(), "jetson-nano")
    values = all_values(float_model, operator_library, x)
    table = table_of(values)
    (node,) = [each for each in float_model.graph.node if each.op_type == "AdderConv"]
    assert table.ranges[node.input[0]] == Range(0.0, 0.0)
    expected, limits = values[node.output[0]], table.ranges[node.output[0]]
    assert limits.high > limits.low
    model = quantize_model(float_model, table)
    codes = next(each.output[0] for each in model.graph.node if each.name == node.name)
    model.graph.output.append(helper.make_empty_tensor_value_info(codes))
    out = session(model, operator_library).run([codes], {"input": x})[0]
    scale, zero_point = (
        numpy_helper.to_array(tensor)
        for name in next(n for n in model.graph.node if n.name == node.name).input[6:8]
        for tensor in model.graph.initializer
        if tensor.name == name
    )
    steps = np.moveaxis(out, -1, 1).astype(np.float64) - zero_point
    assert np.abs(steps * np.float64(scale) - expected).max() <= scale * 0.501


def test_a_squeeze_and_excitation_multiplies_codes(operator_library: Path) -> None:
    model = quantized(exported(Excited()), operator_library, images())
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["QLinearMul"] == 1
    assert kinds["Mul"] == 0


def test_a_concatenation_copies_codes(operator_library: Path) -> None:
    model = quantized(exported(Residual()), operator_library, images())
    (concat,) = [node for node in model.graph.node if node.op_type == "Concat"]
    makers = [n for n in model.graph.node if n.output[0] in concat.input]
    readers = [n for n in model.graph.node if concat.output[0] in n.input]
    written = {tuple(node.input[6:8]) for node in makers}
    read = {tuple(node.input[1:3]) for node in readers}
    assert len(written) == 1
    assert written == read


def test_a_kept_layer_computes_in_float(operator_library: Path) -> None:
    float_model = exported(Residual())
    model = quantized(float_model, operator_library, images(), ("adder.0",))
    (kept,) = [node for node in model.graph.node if node.name == "adder.0"]
    assert kept.op_type == "AdderConv"
    assert "QLinearAdderConv" not in {node.op_type for node in model.graph.node}
    before = {t.name: numpy_helper.to_array(t) for t in float_model.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    np.testing.assert_array_equal(after[kept.input[1]], before[kept.input[1]])


def test_eight_bit_codes_become_four(operator_library: Path) -> None:
    """The integer ShiftConv has 4-bit codes only (docs/operators.md, section 5)."""
    model = exported(TinyNet())
    wide = {
        n.name for n in model.graph.node if helper.make_attribute("weight_bits", 8) in n.attribute
    }
    result = quantized(model, operator_library, images())
    assert wide
    layers = {node.name: node for node in result.graph.node if node.op_type == "QLinearShiftConv"}
    for name in wide:
        assert helper.make_attribute("weight_bits", 4) in layers[name].attribute


def test_adder_weights_are_clamped_without_loss() -> None:
    """Before they are rounded: for every x that a code stands for."""
    rng = np.random.default_rng()
    grid = grid_over("x", Range(-1.0, 2.0))
    scale, zero_point = grid.scale, grid.zero_point
    weight = rng.normal(scale=3.0, size=(5, 4, 1, 1)).astype(np.float32)
    low, high = grid.low, grid.high
    # Weights that lie on the grid where they are within it: nothing is left to round.
    inside = np.rint(weight.clip(low, high) / scale) * scale
    weight = np.where((weight < low) | (weight > high), weight, inside).astype(np.float32)
    factor, bias = rng.normal(size=5).astype(np.float32), rng.normal(size=5).astype(np.float32)
    codes, moved = quantize_adder(weight, factor, bias, grid)
    x = rng.integers(0, 256, size=(100, 1, 4))
    exact = np.abs((x - zero_point) * np.float64(scale) - weight.reshape(5, 4)).sum(2)
    sums = np.abs(x - codes.reshape(5, 4).astype(int)).sum(2) * np.float64(scale)
    assert weight.min() < low
    assert weight.max() > high
    np.testing.assert_allclose(moved - factor * sums, bias - factor * exact, atol=1e-5)


def test_the_bytes_do_not_depend_on_the_instruction_set(
    operator_library: Path, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = images()
    model = quantized(exported(Residual()), operator_library, x)
    out = session(model, operator_library).run(None, {"input": x})[0]
    monkeypatch.setenv("SHIFTADD_CPU_ISA", "portable")
    np.testing.assert_array_equal(
        out, session(model, operator_library).run(None, {"input": x})[0], err_msg=isa
    )


_RUN = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(sys.argv[1])
session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
numpy.savez(sys.argv[4], *session.run(None, {"input": numpy.load(sys.argv[3])}))
"""


def with_all_codes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, with what each of its nodes makes among its outputs."""
    wider = onnx.ModelProto()
    wider.CopyFrom(model)
    known = {value.name for value in model.graph.output}
    made = [node.output[0] for node in model.graph.node if node.output[0] not in known]
    wider.graph.output.extend(map(helper.make_empty_tensor_value_info, made))
    return wider


@pytest.mark.slow
def test_an_emulated_cortex_a57_gives_the_same_bytes(
    operator_library: Path, tmp_path: Path
) -> None:
    """The shipped network, on the NEON kernels and in another ONNX Runtime: the codes of all of its
    layers, and the logits."""
    missing = system.why_not()
    if missing is not None:
        pytest.skip(missing)
    network, sha256 = load_model("ghostshiftaddnet")
    spec = find_model("ghostshiftaddnet")
    float_model = export_model(network, spec, "jetson-nano", sha256)
    x = np.random.default_rng().normal(size=(4, *spec.input_size)).astype(np.float32)
    model = with_all_codes(quantized(float_model, operator_library, x))
    assert len(model.graph.output) > 70
    onnx.save(model, tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", x)
    names = ("model.onnx", "x.npy", "codes.npz")
    files = [str(jetson_nano_library()), *(str(tmp_path / name) for name in names)]
    run([*system.python(), "-c", _RUN, *files])
    expected = session(model, operator_library).run(None, {"input": x})
    with np.load(tmp_path / "codes.npz") as codes:
        for value, ours, theirs in zip(model.graph.output, codes.values(), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=value.name)


def test_refusals(operator_library: Path) -> None:
    model = exported(Residual())
    table = table_of(all_values(model, operator_library, images()))
    with pytest.raises(ModelError, match=r"no node is named stem\.9"):
        quantize_model(model, table, ["stem.9"])
    endless = replace(table, ranges={**table.ranges, "input": Range(0.0, math.inf)})
    with pytest.raises(ModelError, match=r"input: its range is 0\.0\.\.inf"):
        quantize_model(model, endless)
    name = model.graph.node[3].output[0]
    without = replace(table, ranges={k: v for k, v in table.ranges.items() if k != name})
    with pytest.raises(ModelError, match="no range for"):
        quantize_model(model, without)

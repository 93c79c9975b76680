"""Exported files against PyTorch: each target, each engine that it is for."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.onnx_export.model import TARGETS, Target, export_model
from export.operators import AdderConv2d, ShiftConv2d
from tests.support.models.exported import (
    SIZE,
    Array,
    TinyNet,
    attributes,
    custom_nodes,
    make_spec,
    randomise,
    reference,
    relative_error,
    run_onnxruntime,
    run_reference_evaluator,
)
from tests.support.toolchains import python36

TOLERANCE = 1e-5
"""Relative, end to end; the worst of 400 networks was 1.4e-6, in PyTorch's own float32."""

Case = tuple[Array, Array, dict[str, onnx.ModelProto]]


@pytest.fixture(scope="module")
def case() -> Case:
    """Images, the float64 logits, and the three files of one fresh network."""
    network = randomise(TinyNet())
    images = np.random.default_rng().normal(size=(3, *SIZE)).astype(np.float32)
    models = {str(target): export_model(network, make_spec(), target) for target in TARGETS}
    return images, reference(network, images), models


@pytest.mark.parametrize("target", ["jetson-nano", "portable"])
def test_with_the_library(case: Case, target: str, operator_library: Path) -> None:
    images, expected, models = case
    out = run_onnxruntime(models[target], images, operator_library)
    assert relative_error(out, expected) < TOLERANCE


@pytest.mark.parametrize("target", ["portable", "standard"])
@pytest.mark.parametrize("engine", [run_onnxruntime, run_reference_evaluator])
def test_without_the_library(
    case: Case, target: str, engine: Callable[[onnx.ModelProto, Array], Array]
) -> None:
    images, expected, models = case
    assert relative_error(engine(models[target], images), expected) < TOLERANCE


_ON_THE_NANO = """
import sys
import numpy as np, onnxruntime
images, model, out = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
np.save(out, session.run(None, {"input": np.load(images)})[0])
"""


@pytest.mark.parametrize("target", ["portable", "standard"])
def test_without_the_library_on_the_nanos_python(case: Case, target: str, tmp_path: Path) -> None:
    if python36.find_python36() is None:
        pytest.skip("no Python 3.6 here, which the Nano's ONNX Runtime 1.10 needs")
    images, expected, models = case
    np.save(tmp_path / "images.npy", images)
    onnx.save(models[target], tmp_path / "model.onnx")
    files = [str(tmp_path / name) for name in ("images.npy", "model.onnx", "out.npy")]
    subprocess.run([python36.venv36(), "-c", _ON_THE_NANO, *files], check=True, timeout=120)
    assert relative_error(np.load(tmp_path / "out.npy"), expected) < TOLERANCE


def test_activations_and_batch_norms_go_into_the_custom_nodes(case: Case) -> None:
    nodes = {node.name: attributes(node) for node in custom_nodes(case[2]["jetson-nano"])}
    assert {name: fields["activation"] for name, fields in nodes.items()} == {
        "stem.0": "relu",
        "depthwise.0": "hardswish",
        "grouped.0": "relu6",
        "adder.0": "relu",
        "pointwise.0": "none",
        "classifier": "none",
    }
    assert {n: f.get("weight_bits") for n, f in nodes.items() if f.get("weight_bits") == 8} == {
        "grouped.0": 8
    }
    counts = Counter(node.op_type for node in case[2]["jetson-nano"].graph.node)
    assert counts == {
        "ShiftConv": 4, "AdderConv": 2, "Conv": 1, "Relu": 1, "Add": 1,
        "GlobalAveragePool": 1, "Flatten": 1,
    }  # fmt: skip


def test_a_portable_file_leaves_activations_behind_the_nodes(case: Case) -> None:
    model = case[2]["portable"]
    assert {attributes(node)["activation"] for node in custom_nodes(model)} == {"none"}
    assert [function.name for function in model.functions] == ["AdderConv", "ShiftConv"]
    counts = Counter(node.op_type for node in model.graph.node)
    assert (counts["Relu"], counts["Clip"], counts["HardSigmoid"]) == (3, 1, 1)


def test_a_standard_file_has_standard_operators_alone(case: Case) -> None:
    model = case[2]["standard"]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    counts = Counter(node.op_type for node in model.graph.node)
    # Four shift layers, the plain one, and the patches of the one adder that is not pointwise.
    assert counts["Conv"] == 6
    assert not {"Shape", "Constant", "Mod", "Pow", "EyeLike", "MaxPool"} & set(counts)
    names = {node.name: node.op_type for node in model.graph.node}
    assert len(names) == len(model.graph.node)
    layers = ("stem.0", "depthwise.0", "grouped.0", "plain.0", "classifier", "adder.0")
    assert [names[layer] for layer in layers] == ["Conv"] * 5 + ["Add"]
    assert "stem.0.weight" in {tensor.name for tensor in model.graph.initializer}


@pytest.mark.parametrize("target", TARGETS)
def test_every_value_has_a_shape(case: Case, target: str) -> None:
    graph = case[2][target].graph
    shaped = {v.name: v for v in [*graph.input, *graph.value_info, *graph.output]}
    for node in graph.node:
        for name in node.output:
            dims = shaped[name].type.tensor_type.shape.dim
            assert dims[0].dim_param == "N", name
            assert all(dim.dim_value > 0 for dim in dims[1:]), name


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_left_over(case: Case, target: str) -> None:
    model = case[2][target]
    assert (model.ir_version, model.producer_name) == (7, "shiftadd")
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["logits"]
    read = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read
    assert not {"Identity", "Constant"} & {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)


def test_what_tensorrt_8_2_takes(case: Case) -> None:
    model = case[2]["jetson-nano"]
    assert model.ir_version <= 7
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 13, "shiftadd": 1}
    assert not model.functions
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert types <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT32, onnx.TensorProto.INT64}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in custom_nodes(model):
        assert len(node.input) == 4
        kinds = [constants[name].data_type for name in node.input[1:]]
        packed = onnx.TensorProto.INT32 if node.op_type == "ShiftConv" else onnx.TensorProto.FLOAT
        assert kinds == [packed, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT]


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_network_gives_the_same_bytes(target: Target) -> None:
    network = randomise(TinyNet())
    first, second = (export_model(network, make_spec(), target) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_the_network_itself_is_left_alone() -> None:
    network = randomise(TinyNet()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_model(network, make_spec())
    assert network.training
    assert isinstance(network.get_submodule("stem.0"), ShiftConv2d)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


class SharedLayers(nn.Module):
    """A layer that is used twice, and one whose output has two readers."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = ShiftConv2d(3, 3, 3, padding=1, min_exponent=-6)
        self.again = self.twice
        self.adder = AdderConv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        distances: torch.Tensor = self.adder(self.again(self.twice(x)))
        normed: torch.Tensor = self.norm(distances)
        return normed + distances


def test_shared_layers_and_shared_outputs(operator_library: Path) -> None:
    network = randomise(SharedLayers())
    images = np.random.default_rng().normal(size=(2, *SIZE)).astype(np.float32)
    model = export_model(network, make_spec())
    assert [node.op_type for node in model.graph.node] == [
        "ShiftConv", "ShiftConv", "AdderConv", "BatchNormalization", "Add",
    ]  # fmt: skip
    assert len({node.name for node in model.graph.node}) == 5
    out = run_onnxruntime(model, images, operator_library)
    assert relative_error(out, reference(network, images)) < TOLERANCE


class HandWrittenSwish(nn.Module):
    """x * relu6(x + 3) / 6 as it is often spelled out, in either order."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.layer = ShiftConv2d(3, 4, 1, min_exponent=-6)
        self.late = late

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        gate = nn.functional.relu6(y + 3)
        product: torch.Tensor = y * gate / 6 if self.late else y * (gate / 6)
        return product


@pytest.mark.parametrize("late", [True, False])
def test_a_hand_written_hard_swish_is_fused(late: bool, operator_library: Path) -> None:
    network = randomise(HandWrittenSwish(late))
    images = np.random.default_rng().normal(size=(2, *SIZE)).astype(np.float32) * 4
    model = export_model(network, make_spec())
    (node,) = model.graph.node
    assert attributes(node)["activation"] == "hardswish"
    out = run_onnxruntime(model, images, operator_library)
    assert relative_error(out, reference(network, images)) < TOLERANCE


def test_a_clip_to_other_bounds_stays() -> None:
    network = nn.Sequential(ShiftConv2d(3, 4, 1, min_exponent=-6), nn.Hardtanh(0.0, 5.0))
    model = export_model(randomise(network), make_spec())
    assert [node.op_type for node in model.graph.node] == ["ShiftConv", "Clip"]


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(ValueError, match="'nano'; known targets: jetson-nano, portable"):
        export_model(TinyNet(), make_spec(), "nano")  # type: ignore[arg-type]


def test_a_weight_without_a_code_is_refused_with_its_layer() -> None:
    network = TinyNet()
    with torch.no_grad():
        network.get_submodule("stem.0").get_parameter("weight")[2, 1, 0, 2] = torch.nan
    with pytest.raises(ValueError, match=r"^stem\.0 \(ShiftConv2d\): weight nan at \[2, 1, 0, 2\]"):
        export_model(network, make_spec())

"""The graph passes on their own, and the check that no file breaks the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from torch import nn

from export.models import MODELS
from export.onnx_export import cleanup, graph, naming
from export.onnx_export.check import check_model
from export.onnx_export.model import TARGETS, Target, export_model
from export.operator_table import OPERATORS
from export.operators import AdderConv2d
from runtime.core import metadata
from tests.support.models.exported import SIZE, Array, TinyNet, custom_nodes, make_spec, randomise


def constants(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_a_folded_batch_norm_is_rounded_once() -> None:
    network = nn.Sequential(AdderConv2d(3, 5, 1, bias=True), nn.BatchNorm2d(5))
    randomise(network)
    state = {name: value.double().numpy() for name, value in network.state_dict().items()}
    mean, bias = state["1.running_mean"], state["0.bias"]
    factor = state["1.weight"] / np.sqrt(state["1.running_var"] + 1e-5)
    values = constants(export_model(network, make_spec()))
    np.testing.assert_array_equal(values["0.scale"], factor.astype(np.float32))
    folded = (bias * factor + (state["1.bias"] - mean * factor)).astype(np.float32)
    np.testing.assert_array_equal(values["0.bias"], folded)


def test_weights_are_named_after_their_modules() -> None:
    """Fresh layers share equal scales and biases; every node gets its own."""
    values = constants(export_model(TinyNet().eval(), make_spec()))
    layers = ("stem.0", "depthwise.0", "grouped.0", "adder.0", "pointwise.0", "classifier")
    wanted = {f"{layer}.{field}" for layer in layers for field in ("W", "scale", "bias")}
    assert set(values) == wanted | {"plain.0.weight", "plain.0.bias"}


@pytest.mark.parametrize("name", MODELS)
def test_every_network_of_the_registry_is_exported(name: str) -> None:
    spec = MODELS[name]
    network = spec.build()
    model = export_model(network, spec)
    layers = [n for n in model.graph.node if n.op_type in ("ShiftConv", "AdderConv", "Conv")]
    modules = dict(network.named_modules())
    assert layers
    assert all(node.name in modules for node in layers)
    assert not {"Slice", "Identity", "BatchNormalization"} & {n.op_type for n in model.graph.node}
    dims = model.graph.output[0].type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("N", len(spec.labels))


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ("/stem/stem.0/Conv", "stem.0"),
        ("/blocks/blocks.10/expand/primary/primary.0/ShiftConv", "blocks.10.expand.primary.0"),
        ("/classifier/Gemm", "classifier"),
        ("/Flatten", ""),
    ],
)
def test_module_paths(scope: str, path: str) -> None:
    assert naming.module_path(scope) == path


def copies(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    float32 = onnx.TensorProto.FLOAT
    body = helper.make_graph(
        list(nodes),
        "copies",
        [value("input", float32, ["N", 4])],
        [value("logits", float32, ["N", 4])],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def test_copies_go_where_a_name_can_be_kept() -> None:
    chain = copies(
        helper.make_node("Identity", ["input"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Identity", ["b"], ["logits"]),
    )
    (node,) = cleanup.clean_up(chain).graph.node
    assert (node.op_type, list(node.input), list(node.output)) == ("Relu", ["input"], ["logits"])
    # A graph that returns its input needs a node between the two names.
    alone = copies(helper.make_node("Identity", ["input"], ["logits"]))
    assert [node.op_type for node in cleanup.clean_up(alone).graph.node] == ["Identity"]


def set_field(index: int, name: str, value: Any) -> Callable[[onnx.ModelProto], None]:
    return lambda model: graph.set_attribute(custom_nodes(model)[index], name, value)


def drop_field(index: int, name: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        node = custom_nodes(model)[index]
        kept = [entry for entry in node.attribute if entry.name != name]
        node.ClearField("attribute")
        node.attribute.extend(kept)

    return change


def set_constant(name: str, change: Callable[[Array], Array]) -> Callable[[onnx.ModelProto], None]:
    def apply(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == name:
                value = change(numpy_helper.to_array(tensor).copy())
                tensor.CopyFrom(numpy_helper.from_array(value, name))

    return apply


def poke(index: tuple[int, ...], value: Any) -> Callable[[Array], Array]:
    def apply(array: Array) -> Array:
        array[index] = value
        return array

    return apply


def drop_bias(model: onnx.ModelProto) -> None:
    del custom_nodes(model)[0].input[3]


def feed_weights(model: onnx.ModelProto) -> None:
    custom_nodes(model)[0].input[1] = "input"


def newer_contract(model: onnx.ModelProto) -> None:
    for entry in model.opset_import:
        if entry.domain == "shiftadd":
            entry.version = 2


def rename_operator(name: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        custom_nodes(model)[0].op_type = name

    return change


# Nodes of the small network, in order: 0 stem.0 (ShiftConv), 3 adder.0 (AdderConv).
BREACHES = [
    (set_field(0, "strides", [2]), r"ShiftConv stem\.0: strides: expected 2 .*, got \[2\]"),
    (set_field(0, "strides", [2, 0]), r"stem\.0: strides: .* from 1 to 2147483647, got \[2, 0\]"),
    (set_field(0, "strides", [2, 2**31]), r"stem\.0: strides: .* to 2147483647, got \[2, 21"),
    (set_field(3, "pads", [0, 0, 2**31, 0]), r"adder\.0: pads: .* from 0 to 2147483647, got"),
    (set_field(0, "pads", [0, 0, -1, 0]), r"stem\.0: pads: expected .*, got \[0, 0, -1, 0\]"),
    (set_field(0, "group", 0), r"stem\.0: group: expected an integer from 1 to .*, got 0"),
    (set_field(0, "group", 2**31), r"stem\.0: group: expected .* to 2147483647, got 2147483648"),
    (set_field(3, "group", 3), r"AdderConv adder\.0: output channels: .* of group 3, got 8"),
    (set_field(0, "group", 2), r"stem\.0: channels of X: expected a multiple of group 2, got 3"),
    (set_field(0, "weight_bits", 5), r"stem\.0: weight_bits: expected 4 or 8, got 5"),
    (set_field(0, "weight_bits", 8), r"stem\.0: W: .* int32 \[8, 7\], got int32 \[8, 4\]"),
    (set_field(0, "activation", "gelu"), r"stem\.0: activation: expected none, .* or .*, got gelu"),
    (set_field(0, "activation", 1), r"stem\.0: type of activation: expected STRING, got INT"),
    (set_field(3, "weight_bits", 4), r"adder\.0: attributes: expected .*, got .*weight_bits"),
    (drop_field(0, "dilations"), r"stem\.0: attributes: expected .*dilations.*, got "),
    (set_constant("stem.0.W", poke((1, 0), 8)), r"stem\.0: W: code 8 at \[1, 0\]"),
    (set_constant("stem.0.W", poke((7, 3), -1)), r"stem\.0: W: .*tail must be 0, got code 15"),
    (set_constant("stem.0.scale", poke((1,), np.nan)), r"stem\.0: scale: .* finite .*, got nan"),
    (set_constant("stem.0.bias", lambda a: a[:5]), r"stem\.0: shape of bias: .*\[8\], got \[5\]"),
    (set_constant("stem.0.bias", lambda a: a.astype(float)), r"bias: .*float32, got float64"),
    (set_constant("adder.0.W", lambda a: a[:, :3]), r"shape of W: .*\[8, 6, 3, 3\], got \[8, 3, "),
    (set_constant("adder.0.W", poke((0, 0, 0, 0), np.inf)), r"adder\.0: W: .* finite .*, got inf"),
    (drop_bias, r"stem\.0: inputs: expected X, W, scale and bias, got "),
    (feed_weights, r"stem\.0: input 1: expected an initializer, got input"),
    (newer_contract, r"opset_import of shiftadd must be 1, got \[2\]"),
    (rename_operator("SubConv"), r"SubConv stem\.0: .* no such operator in version 1"),
    *((rename_operator(name), rf"{name} stem\.0: is an integer operator, and only float models")
      for name, operator in OPERATORS.items() if operator.is_integer),
]  # fmt: skip


@pytest.fixture(scope="module")
def exported() -> onnx.ModelProto:
    return export_model(randomise(TinyNet(), SIZE), make_spec())


@pytest.mark.parametrize(("change", "message"), BREACHES, ids=[m for _, m in BREACHES])
def test_breaches_of_the_contract_are_named(
    exported: onnx.ModelProto, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(exported)
    check_model(broken)
    change(broken)
    with pytest.raises(ValueError, match=message):
        check_model(broken)


@pytest.mark.parametrize("target", TARGETS)
def test_metadata_is_what_the_runtime_reads(target: Target) -> None:
    model = export_model(TinyNet(), make_spec(), target, "ab" * 32)
    parsed = metadata.parse({entry.key: entry.value for entry in model.metadata_props})
    spec = make_spec()
    operators = () if target == "standard" else ("AdderConv", "ShiftConv")
    assert parsed == metadata.Metadata(
        1, "tiny", target, SIZE, spec.resize, spec.mean, spec.std, spec.labels, "ab" * 32, operators
    )

"""Exported files against what TensorRT 8.2's ONNX parser takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export.models import MODELS
from export.onnx_export import tensorrt82
from export.onnx_export.model import export_model
from export.operators import AdderConv2d, ShiftConv2d
from tests.support.models.exported import SIZE, Array, TinyNet, custom_nodes, make_spec, randomise

Model = onnx.ModelProto


class Gates(nn.Module):
    """What networks have around their layers: squeeze-and-excite, crops, joins and resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = ShiftConv2d(3, 8, 3, padding=1, min_exponent=-6)
        self.adder = AdderConv2d(8, 8, 1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.dense = nn.Linear(16, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.shift(x)
        y = y * nn.functional.hardsigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        y = torch.cat([y, self.adder(y)[:, :, 1:].clamp(max=5.0)], 2)
        y = nn.functional.interpolate(y, scale_factor=2.0)
        y = torch.cat([y, nn.functional.avg_pool2d(y, 3, 1, 1)], 1)
        logits: torch.Tensor = self.dense(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1))
        return logits


@pytest.mark.parametrize("name", MODELS)
def test_every_registered_model_is_taken(name: str) -> None:
    spec = MODELS[name]
    tensorrt82.check_model(export_model(spec.build(), spec))


@pytest.mark.parametrize("network", [TinyNet, Gates])
def test_networks_of_other_operators_are_taken(network: Callable[[], nn.Module]) -> None:
    model = export_model(randomise(network()), make_spec())
    tensorrt82.check_model(model)
    assert len(custom_nodes(model)) >= 2


@pytest.fixture(scope="module")
def exported() -> Model:
    return export_model(randomise(TinyNet()), make_spec())


def custom(model: Model) -> onnx.NodeProto:
    return custom_nodes(model)[0]


def standard(model: Model, op_type: str) -> onnx.NodeProto:
    found: onnx.NodeProto = next(n for n in model.graph.node if n.op_type == op_type)
    return found


def initializer(model: Model, name: str) -> TensorProto:
    found: TensorProto = next(t for t in model.graph.initializer if t.name == name)
    return found


def add_constant(model: Model, name: str, value: Array) -> str:
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def append(model: Model, op_type: str, *inputs: str, **fields: Any) -> onnx.NodeProto:
    """Adds a node that reads the logits and makes "more", of their type and shape."""
    outputs = ["more"] if op_type != "MaxPool" else ["more", "indices"]
    domain = str(fields.pop("domain", ""))
    node = helper.make_node(op_type, ["logits", *inputs], outputs, op_type, domain=domain, **fields)
    model.graph.node.append(node)
    appended: onnx.NodeProto = model.graph.node[-1]
    return appended


def newer_opset(model: Model) -> None:
    model.opset_import[0].version = 14


def newer_ir(model: Model) -> None:
    model.ir_version = 8


def local_function(model: Model) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    opset = [helper.make_opsetid("", 13)]
    model.functions.append(helper.make_function("shiftadd", "F", ["x"], ["y"], [node], opset))


def no_shape(model: Model) -> None:
    model.graph.value_info[0].type.tensor_type.ClearField("shape")


def dynamic_height(model: Model) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"


def nine_dimensions(model: Model) -> None:
    for _ in range(5):
        model.graph.value_info[0].type.tensor_type.shape.dim.add().dim_value = 1


def bytes_as_weights(model: Model) -> None:
    name = custom(model).input[1]
    initializer(model, name).CopyFrom(numpy_helper.from_array(np.zeros((8, 8), np.uint8), name))


def doubles_as_weights(model: Model) -> None:
    add_constant(model, "wide", np.zeros(1, np.float64))


def a_wide_integer(model: Model) -> None:
    add_constant(model, "shape", np.array([2**31, 1]))
    append(model, "Reshape", "shape")


def a_wide_integer_that_another_reads_too(model: Model) -> None:
    add_constant(model, "end", np.array([2**63 - 1]))
    append(model, "Slice", "end", "end", add_constant(model, "axes", np.array([1])))
    append(model, "Reshape", "end")


def a_missing_input(model: Model) -> None:
    node = standard(model, "Conv")
    node.input.insert(2, "")


def a_missing_plugin_input(model: Model) -> None:
    custom(model).input[3] = ""


def a_subgraph(model: Model) -> None:
    body = helper.make_graph([], "body", [], [])
    append(model, "Relu", body=body)


def a_float_field(model: Model) -> None:
    custom(model).attribute.append(helper.make_attribute("alpha", 0.5))


def a_wide_field(model: Model) -> None:
    custom(model).attribute.append(helper.make_attribute("size", 2**31))


def weights_that_are_made(model: Model) -> None:
    custom(model).input[2] = "logits"


def half_scale(model: Model) -> None:
    name = custom(model).input[2]
    value = numpy_helper.to_array(initializer(model, name)).astype(np.float16)
    initializer(model, name).CopyFrom(numpy_helper.from_array(value, name))


def an_integer_image(model: Model) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


def a_foreign_domain(model: Model) -> None:
    append(model, "ShiftConv", domain="elsewhere")


def an_operator_without_a_plugin(model: Model) -> None:
    append(model, "QLinearShiftConv", domain="shiftadd")


def an_unknown_operator(model: Model) -> None:
    append(model, "Mod", "logits")


def a_subgraph_operator(model: Model) -> None:
    append(model, "Loop")


def a_type_that_the_operator_lacks(model: Model) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    append(model, "Relu")


def made_integers(model: Model) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info("more", TensorProto.INT64, [7]))
    append(model, "ConstantOfShape")


def weights_of_a_convolution(model: Model) -> None:
    standard(model, "Conv").input[1] = "logits"


def a_convolution_of_one_dimension(model: Model) -> None:
    append(model, "Conv", standard(model, "Conv").input[1])


def indices(model: Model) -> None:
    node = append(model, "MaxPool")
    node.input[0] = standard(model, "Conv").input[0]


def cubic_resizing(model: Model) -> None:
    append(model, "Resize", "", "", mode="cubic")


def resizing_of_a_part(model: Model) -> None:
    append(model, "Resize", "", "", coordinate_transformation_mode="tf_crop_and_resize")


def a_zero_point(model: Model) -> None:
    scale = add_constant(model, "step", np.array(0.1, np.float32))
    append(model, "QuantizeLinear", scale, add_constant(model, "zero", np.array(3, np.int8)))


MUTATIONS: tuple[tuple[Callable[[Model], None], str], ...] = (
    (newer_opset, r"the file: its opset is \[14\], not 13"),
    (newer_ir, "the file: its IR version is 8, above 7"),
    (local_function, "function F: local functions are not read"),
    (no_shape, "value .*: it has no shape"),
    (dynamic_height, "value input: its extent at axis 2 is not a number"),
    (nine_dimensions, "value .*: it has 9 dimensions, above 8"),
    (bytes_as_weights, r"initializer stem\.0\.W: its type is UINT8"),
    (doubles_as_weights, "initializer wide: its type is DOUBLE"),
    (a_wide_integer, "initializer shape: its value 2147483648 does not fit 32 bits"),
    (a_wide_integer_that_another_reads_too, "initializer end: its value 9223372036854775807"),
    (a_missing_input, r"Conv plain\.0: its input 2 is left out"),
    (a_missing_plugin_input, r"ShiftConv stem\.0: its input 3 is left out"),
    (a_subgraph, "Relu Relu: its attribute body is a subgraph"),
    (a_float_field, r"ShiftConv stem\.0: its attribute alpha is of type FLOAT"),
    (a_wide_field, r"ShiftConv stem\.0: its attribute size does not fit 32 bits"),
    (weights_that_are_made, r"ShiftConv stem\.0: its input 2 is not an initializer"),
    (half_scale, r"ShiftConv stem\.0: the type of its input 2 is FLOAT16"),
    (an_integer_image, r"ShiftConv stem\.0: the type of its input 0 is INT32"),
    (a_foreign_domain, "ShiftConv ShiftConv: the domain elsewhere has no plugin of that name"),
    (an_operator_without_a_plugin, "QLinearShiftConv: the domain shiftadd has no plugin"),
    (an_unknown_operator, "Mod Mod: it has no such operator"),
    (a_subgraph_operator, "Loop Loop: it has no such operator"),
    (a_type_that_the_operator_lacks, "Relu Relu: its data is of type INT32"),
    (made_integers, "ConstantOfShape ConstantOfShape: its data is of type INT64"),
    (weights_of_a_convolution, r"Conv plain\.0: its input 1 is not an initializer"),
    (a_convolution_of_one_dimension, "Conv Conv: its data has 2 dimensions, not 4 or 5"),
    (indices, "MaxPool MaxPool: it returns indices"),
    (cubic_resizing, "Resize Resize: its mode is cubic"),
    (resizing_of_a_part, "Resize: its coordinate_transformation_mode is tf_crop_and_resize"),
    (a_zero_point, "QuantizeLinear QuantizeLinear: its zero point is not a constant 0"),
)


@pytest.mark.parametrize(
    ("mutate", "message"), MUTATIONS, ids=[mutate.__name__ for mutate, _ in MUTATIONS]
)
def test_what_is_not_taken_is_refused(
    exported: Model, mutate: Callable[[Model], None], message: str
) -> None:
    model = Model()
    model.CopyFrom(exported)
    tensorrt82.check_model(model)
    mutate(model)
    with pytest.raises(ValueError, match=rf"^TensorRT 8\.2 does not take .*{message}"):
        tensorrt82.check_model(model)


def test_an_end_beyond_32_bits_means_the_same_when_it_is_clamped(exported: Model) -> None:
    model = Model()
    model.CopyFrom(exported)
    one = add_constant(model, "one", np.array([1]))
    append(model, "Slice", one, add_constant(model, "end", np.array([2**63 - 1])), one)
    tensorrt82.check_model(model)


class Remainder(nn.Module):
    """A network with an operator that TensorRT 8.2 lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = ShiftConv2d(SIZE[0], 7, 1, min_exponent=-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fmod(self.layer(x), 2.0)


def test_the_exporter_refuses_for_the_nano_only() -> None:
    network = randomise(Remainder())
    with pytest.raises(ValueError, match=r"TensorRT 8\.2 does not take Mod .*no such operator"):
        export_model(network, make_spec())
    assert "Mod" in {
        node.op_type for node in export_model(network, make_spec(), "portable").graph.node
    }

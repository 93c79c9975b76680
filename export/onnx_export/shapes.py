"""Shape inference that knows the contract's operators."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper, shape_inference

from export.onnx_export.graph import Editor, attribute, is_custom, with_graph

_WINDOW = ("kernel_shape", "strides", "pads", "dilations", "group")


def infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a value_info for every value and with the output's inferred shape.

    Raises ValueError naming a value that is left without a shape, or with an extent other than
    the batch that is not a number.
    """
    result = annotate(model)
    _check_complete(result)
    return result


def annotate(model: onnx.ModelProto) -> onnx.ModelProto:
    """Does what `infer` does, but leaves out what cannot be inferred."""
    stand_in = _with_convolutions(model)
    for output in stand_in.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(
        stand_in, check_type=True, strict_mode=True, data_prop=True
    ).graph
    result = with_graph(model, model.graph.node, model.graph.initializer)
    outputs = {value.name for value in result.graph.output}
    made = [name for node in result.graph.node for name in node.output if name not in outputs]
    shapes = {value.name: value for value in inferred.value_info}
    result.graph.ClearField("value_info")
    result.graph.value_info.extend(shapes[name] for name in made if name in shapes)
    result.graph.ClearField("output")
    result.graph.output.extend(inferred.output)
    return result


def _with_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a Conv in the place of each custom node: the contract gives them its shape.

    The weights are unnamed extra inputs of the shape [M, C/g, kH, kW] that a Conv's have.
    """
    editor = Editor(model)
    nodes = []
    for node in editor.nodes:
        if not is_custom(node):
            nodes.append(node)
            continue
        scale = editor.constant(node.input[2])
        if scale is None:
            raise ValueError(f"{node.name}: scale is not an initializer")
        weight = f"{node.output[0]}/stand_in"
        shape = [scale.shape[0], None, *attribute(node, "kernel_shape")]
        editor.graph.input.append(helper.make_tensor_value_info(weight, TensorProto.FLOAT, shape))
        window = {name: attribute(node, name) for name in _WINDOW}
        inputs = [node.input[0], weight]
        nodes.append(helper.make_node("Conv", inputs, node.output, node.name, **window))
    return with_graph(editor.model, nodes, editor.graph.initializer)


def _check_complete(model: onnx.ModelProto) -> None:
    graph = model.graph
    shaped = {value.name: value for value in [*graph.value_info, *graph.output]}
    for node in graph.node:
        for name in node.output:
            if name not in shaped:
                raise ValueError(f"{node.name}: no shape can be inferred for its output {name}")
            unknown = list(_unknown_axes(shaped[name]))
            if unknown:
                raise ValueError(
                    f"{node.name}: the shape of its output {name} is unknown at axis {unknown[0]}"
                )


def _unknown_axes(value: onnx.ValueInfoProto) -> Iterator[int]:
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if not dim.HasField("dim_value") and not (axis == 0 and dim.dim_param):
            yield axis

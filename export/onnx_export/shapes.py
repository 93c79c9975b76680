"""Shape inference that knows the contract's operators."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper, shape_inference

from export.onnx_export import batch
from export.onnx_export.graph import Editor, attribute, is_custom, with_graph

_WINDOW = ("kernel_shape", "strides", "pads", "dilations", "group")


def infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a value_info for every value and with the output's inferred shape.

    Extents are numbers, the batch's name, or terms of it ("2*N"). What inference cannot tell is
    seen when the model runs. Raises ValueError for an extent that is none of these.
    """
    result = annotate(batch.keep_batch(annotate(model)))
    unknown = list(_incomplete(result))
    if unknown:
        (given,) = model.graph.input
        name = given.type.tensor_type.shape.dim[0].dim_param
        for value, shape in batch.measure(result, unknown, name).items():
            _set_shape(result, value, shape)
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


def _incomplete(model: onnx.ModelProto) -> Iterator[str]:
    """Values without a shape, or with an extent that is neither a number nor the input's batch."""
    graph = model.graph
    names = {dim.dim_param for v in graph.input for dim in v.type.tensor_type.shape.dim}
    shaped = {value.name: value.type.tensor_type for value in [*graph.value_info, *graph.output]}
    for name in (name for node in graph.node for name in node.output if name):
        kind = shaped.get(name)
        known = kind is not None and kind.HasField("shape")
        if (
            kind is None
            or not known
            or not all(
                dim.HasField("dim_value") or dim.dim_param in names for dim in kind.shape.dim
            )
        ):
            yield name


def _set_shape(model: onnx.ModelProto, name: str, shape: list[int | str]) -> None:
    graph = model.graph
    known = next((v for v in [*graph.value_info, *graph.output] if v.name == name), None)
    kind = known.type.tensor_type.elem_type if known is not None else TensorProto.UNDEFINED
    value = helper.make_tensor_value_info(name, kind, shape)
    if known is None:
        graph.value_info.append(value)
    else:
        known.CopyFrom(value)

"""Removes what the exporter leaves behind: constants that are nodes, copies, and slices that keep
everything."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from export.onnx_export.graph import Array, Editor


def clean_up(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with constants as initializers only, without Identity nodes, and without inputs
    that are left out at the end of a list of them."""
    editor = Editor(model)
    for node in editor.nodes:
        while node.input and not node.input[-1]:
            del node.input[-1]
    for node in editor.nodes:
        if node.op_type == "Constant":
            _to_initializer(editor, node)
    for node in editor.nodes:
        if node.op_type == "Identity":
            editor.bypass(node)
    return editor.finish()


def drop_whole_slices(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without Slice nodes that keep everything (a ghost module's crop, mostly).

    Reads value_info: run it after shape inference.
    """
    editor = Editor(model)
    extents = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*model.graph.value_info, *model.graph.input]
    }
    for node in editor.nodes:
        if node.op_type == "Slice" and _keeps_everything(editor, node, extents):
            editor.bypass(node)
    return editor.finish()


def _to_initializer(editor: Editor, node: onnx.NodeProto) -> None:
    editor.drop(node)
    name = node.output[0]
    del editor.producers[name]
    editor.add_constant(name, _value(node))


def _value(node: onnx.NodeProto) -> Array:
    """The value of the Constant: a tensor, or the integer that an attribute of a function body
    gave."""
    (entry,) = node.attribute
    if entry.name == "value":
        return numpy_helper.to_array(entry.t)
    if entry.name == "value_int":
        return np.array(entry.i, np.int64)
    raise ValueError(f"{node.name}: a Constant with the attribute {entry.name}")


def _keeps_everything(editor: Editor, node: onnx.NodeProto, extents: dict[str, list[int]]) -> bool:
    inputs = [editor.constant(name) for name in node.input[1:]]
    sizes = extents.get(node.input[0])
    if sizes is None or len(inputs) != 4 or any(value is None for value in inputs):
        return False
    starts, ends, axes, steps = (value.tolist() for value in inputs if value is not None)
    # A size of 0 means that the size is unknown.
    return all(
        start == 0 and step == 1 and 0 < sizes[axis] <= end
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)
    )

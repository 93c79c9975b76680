"""Evaluates what depends on constants alone."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.onnx_export.graph import Array, Editor

_UNKNOWN = -1
"""Stands for the batch in a shape: a size is never negative."""


def evaluate(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every standard node that depends on constants alone replaced by its value,
    unless the graph returns it."""
    editor = Editor(model)
    known = set(editor.constants)
    foldable = []
    for node in editor.nodes:
        returned = any(editor.is_output(name) for name in node.output)
        if not node.domain and not returned and all(name in known for name in node.input if name):
            foldable.append(node)
            known.update(node.output)
    folded = {name for node in foldable for name in node.output}
    others = {id(node) for node in editor.nodes} - {id(node) for node in foldable}
    read = {name for node in editor.nodes if id(node) in others for name in node.input}
    wanted = sorted(folded & read)
    if not wanted:
        return model
    used = {name for node in foldable for name in node.input}
    feeds = {name: value for name, value in editor.constants.items() if name in used}
    for name, value in zip(wanted, run(model, foldable, feeds, wanted), strict=True):
        del editor.producers[name]
        editor.add_constant(name, value)
    for node in foldable:
        editor.drop(node)
    return editor.finish()


def run(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    feeds: dict[str, Array],
    wanted: list[str],
) -> list[Array]:
    """The values `wanted` of `nodes` in their order, by ONNX's reference implementation; `feeds`
    has what they read."""
    constants = [numpy_helper.from_array(value, name) for name, value in feeds.items()]
    outputs = [
        helper.make_value_info(name, helper.make_tensor_type_proto(1, None)) for name in wanted
    ]
    graph = helper.make_graph(nodes, "constants", [], outputs, constants)
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    values = ReferenceEvaluator(part).run(None, {})
    return [np.asarray(value) for value in values]


def without_unread(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without nodes whose outputs nobody reads."""
    editor = Editor(model)
    for node in reversed(editor.nodes):
        if not any(editor.readers(name) or editor.is_output(name) for name in node.output):
            editor.drop(node)
    return editor.finish()


def evaluate_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Extents that are read from a Shape and are known, as constants."""
    editor = Editor(model)
    shaped = {
        value.name: [
            dim.dim_value if dim.HasField("dim_value") else _UNKNOWN
            for dim in value.type.tensor_type.shape.dim
        ]
        for value in [*model.graph.input, *model.graph.value_info]
        if value.type.tensor_type.HasField("shape")
    }
    for node in editor.nodes:
        extents = _extents(editor, model, node, shaped)
        if extents is not None and _UNKNOWN not in extents:
            editor.drop(node)
            del editor.producers[node.output[0]]
            editor.add_constant(node.output[0], extents)
    return without_unread(editor.finish())


def _extents(
    editor: Editor, model: onnx.ModelProto, node: onnx.NodeProto, shaped: dict[str, list[int]]
) -> Array | None:
    """What a Shape, or a Gather or Slice behind one, gives; None for any other node."""
    if node.op_type == "Shape" and node.input[0] in shaped:
        return np.array(shaped[node.input[0]], np.int64)
    shape = editor.producer(node.input[0], "Shape") if node.input else None
    if node.op_type not in ("Gather", "Slice") or shape is None or shape.input[0] not in shaped:
        return None
    feeds = {node.input[0]: np.array(shaped[shape.input[0]], np.int64)}
    for name in node.input[1:]:
        parameter = editor.constant(name)
        if parameter is None:
            return None
        feeds[name] = parameter
    (extents,) = run(model, [node], feeds, [node.output[0]])
    return extents

"""A model with function bodies as one of standard operators only, its constants evaluated."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import inliner

from export.onnx_export import constants, naming, shapes
from export.onnx_export.cleanup import clean_up
from export.onnx_export.graph import DOMAIN, Editor, attribute

_UNKNOWN = -1
"""Stands for the batch in a shape: a size is never negative."""


def inline(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every function inlined: a ShiftConv becomes a Conv with float weights.

    Raises ValueError where a function or a custom node is left.
    """
    inlined = clean_up(inliner.inline_local_functions(model))
    _check_standard(inlined)
    inlined = _name_nodes(inlined, {n.output[0]: n.name for n in model.graph.node})
    kept = [entry for entry in inlined.opset_import if entry.domain != DOMAIN]
    inlined.ClearField("opset_import")
    inlined.opset_import.extend(kept)
    # The second round knows the shapes that only the constants of the first tell.
    for _ in range(2):
        inlined = constants.evaluate(_evaluate_shapes(shapes.annotate(inlined)))
    return shapes.infer(naming.name_weights(_drop_identity_convolutions(inlined)))


def _check_standard(model: onnx.ModelProto) -> None:
    """The inliner leaves a function in, silently, whose opset is not the file's."""
    if model.functions:
        names = ", ".join(function.name for function in model.functions)
        raise ValueError(f"functions left after inlining: {names}")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"{node.name}: {node.domain}::{node.op_type} left after inlining")


def _name_nodes(model: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    """The model with the inlined nodes named: the last of a layer as the layer was (`names` by
    output), the others after what they make."""
    editor = Editor(model)
    for node in editor.nodes:
        if not node.name:
            node.name = names.get(node.output[0], node.output[0])
    return editor.finish()


def _evaluate_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
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
        shape = editor.producer(node.input[0], "Shape") if node.input else None
        if node.op_type not in ("Gather", "Slice") or shape is None:
            continue
        parameters = [editor.constant(name) for name in node.input[1:]]
        if shape.input[0] not in shaped or any(value is None for value in parameters):
            continue
        values = [np.array(shaped[shape.input[0]], np.int64), *parameters]
        feeds = {
            name: value for name, value in zip(node.input, values, strict=True) if value is not None
        }
        (extents,) = constants.run(model, [node], feeds, [node.output[0]])
        if _UNKNOWN not in extents:
            editor.drop(node)
            del editor.producers[node.output[0]]
            editor.add_constant(node.output[0], extents)
    return constants.without_unread(editor.finish())


def _drop_identity_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the patches of 1x1 adders: their convolution is a copy."""
    editor = Editor(model)
    for node in editor.nodes:
        if node.op_type == "Conv" and _copies(editor, node):
            editor.bypass(node)
    return editor.finish()


def _copies(editor: Editor, node: onnx.NodeProto) -> bool:
    weight = editor.constant(node.input[1])
    if weight is None or len(node.input) > 2 or weight.shape[2:] != (1, 1):
        return False
    plain = attribute(node, "group") == 1 and attribute(node, "strides") == [1, 1]
    matrix = weight[:, :, 0, 0]
    return (
        plain
        and not any(attribute(node, "pads"))
        and matrix.shape[0] == matrix.shape[1]
        and np.array_equal(matrix, np.eye(len(matrix), dtype=matrix.dtype))
    )

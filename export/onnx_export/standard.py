"""A model with function bodies as one of standard operators only, its constants evaluated."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import inliner

from export.onnx_export import constants, naming, shapes
from export.onnx_export.cleanup import clean_up
from export.onnx_export.graph import Editor, attribute
from export.operator_table import DOMAIN


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
        inlined = constants.evaluate(constants.evaluate_shapes(shapes.annotate(inlined)))
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

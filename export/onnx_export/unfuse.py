"""Puts fused activations back behind their nodes, for a run by function bodies."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from export.onnx_export.graph import Editor, attribute, is_custom, set_attribute, with_graph


def split_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with each fused activation as standard nodes of opset 13 behind its node."""
    editor = Editor(model)
    nodes: list[onnx.NodeProto] = []
    for node in editor.nodes:
        nodes.append(node)
        activation = attribute(node, "activation", "none") if is_custom(node) else "none"
        if activation != "none":
            out, sums = node.output[0], f"{node.output[0]}/sums"
            node.output[0] = sums
            set_attribute(node, "activation", "none")
            nodes.extend(_standard_nodes(editor, activation, sums, out))
    return with_graph(editor.model, nodes, editor.graph.initializer)


def _standard_nodes(editor: Editor, activation: str, x: str, y: str) -> list[onnx.NodeProto]:
    if activation == "relu":
        return [helper.make_node("Relu", [x], [y])]
    if activation == "relu6":
        bounds = [
            editor.add_constant(f"{y}/bound", np.array(value, np.float32)) for value in (0, 6)
        ]
        return [helper.make_node("Clip", [x, *bounds], [y])]
    if activation != "hardswish":
        raise ValueError(f"no standard nodes are known for the activation {activation}")
    gate = f"{y}/gate"
    return [
        helper.make_node("HardSigmoid", [x], [gate], alpha=1 / 6, beta=0.5),
        helper.make_node("Mul", [x, gate], [y]),
    ]

"""Fuses an activation into the custom node before it."""

from __future__ import annotations

import math

import onnx

from export.onnx_export.graph import Editor, attribute, is_custom, set_attribute

Match = tuple[str, list[onnx.NodeProto]]
"""An activation (docs/operators.md, section 1.3) and the nodes that compute it, in order."""


def fuse_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in which every ReLU, ReLU6 or hard swish that is the only reader of a custom node
    is fused into it.

    It finds hard swish as the exporter writes it (HardSigmoid, Mul) and as it is often written by
    hand: x * relu6(x + 3) / 6.
    """
    editor = Editor(model)
    for node in editor.nodes:
        if not is_custom(node) or attribute(node, "activation") != "none":
            continue
        value = node.output[0]
        match = _match_clip(editor, value) or _match_hard_swish(editor, value)
        if match is not None:
            activation, absorbed = match
            set_attribute(node, "activation", activation)
            editor.merge_into(node, absorbed)
    return editor.finish()


def _match_clip(editor: Editor, value: str) -> Match | None:
    reader = _only_reader(editor, value)
    if reader is None:
        return None
    if reader.op_type == "Relu":
        return "relu", [reader]
    return ("relu6", [reader]) if _is_relu6(editor, reader) else None


def _match_hard_swish(editor: Editor, value: str) -> Match | None:
    """Finds value * gate(value), where two nodes read the value: the first of the gate and the
    product."""
    readers = editor.readers(value)
    if len(readers) != 2 or editor.is_output(value):
        return None
    for first in readers:
        gate = _gate(editor, first)
        product = _only_reader(editor, gate[-1].output[0]) if gate else None
        if product is None or product.op_type != "Mul" or value not in product.input:
            continue
        if gate[-1].op_type != "Clip":
            return "hardswish", [*gate, product]
        sixth = _only_reader(editor, product.output[0])
        if sixth is not None and _divides_by_six(editor, sixth):
            return "hardswish", [*gate, product, sixth]
    return None


def _gate(editor: Editor, first: onnx.NodeProto) -> list[onnx.NodeProto]:
    """HardSigmoid, or relu6(v + 3) with or without its division by 6; empty for anything else."""
    if first.op_type == "HardSigmoid":
        alpha, beta = attribute(first, "alpha", 0.2), attribute(first, "beta", 0.5)
        return [first] if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5 else []
    if first.op_type != "Add" or 3.0 not in (editor.scalar(name) for name in first.input):
        return []
    clip = _only_reader(editor, first.output[0])
    if clip is None or not _is_relu6(editor, clip):
        return []
    sixth = _only_reader(editor, clip.output[0])
    if sixth is not None and _divides_by_six(editor, sixth):
        return [first, clip, sixth]
    return [first, clip]


def _only_reader(editor: Editor, value: str) -> onnx.NodeProto | None:
    return editor.readers(value)[0] if editor.has_one_reader(value) else None


def _is_relu6(editor: Editor, node: onnx.NodeProto) -> bool:
    bounds = [editor.scalar(name) for name in node.input[1:]]
    return node.op_type == "Clip" and bounds == [0.0, 6.0]


def _divides_by_six(editor: Editor, node: onnx.NodeProto) -> bool:
    if node.op_type == "Div":
        return editor.scalar(node.input[1]) == 6.0
    factors = [editor.scalar(name) for name in node.input]
    return node.op_type == "Mul" and any(
        factor is not None and math.isclose(factor, 1 / 6, rel_tol=1e-6) for factor in factors
    )

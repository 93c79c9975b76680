"""Folds a BatchNormalization into the layer before it."""

from __future__ import annotations

import numpy as np
import onnx

from export.onnx_export.graph import Array, Editor, attribute, is_custom
from export.operator_table import FLOAT_OPERATORS

_EPSILON = 1e-5  # ONNX's default


def fold_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with each BatchNormalization behind a Conv or a custom node folded in.

    gamma * (v - mean) / sqrt(var + epsilon) + beta = v * factor + offset. A custom node takes
    factor and offset into its scale and bias, a Conv into its weight and bias; they are computed in
    float64 and rounded once. A layer whose output has another reader is left alone.
    """
    editor = Editor(model)
    for node in editor.nodes:
        if node.op_type != "BatchNormalization":
            continue
        layer = editor.producer(node.input[0], "Conv", *FLOAT_OPERATORS)
        factor_offset = _factor_offset(editor, node)
        if layer is None or factor_offset is None or not editor.has_one_reader(node.input[0]):
            continue
        if is_custom(layer):
            folded = _fold_into_scale(editor, layer, *factor_offset)
        else:
            folded = _fold_into_weight(editor, layer, *factor_offset)
        if folded:
            editor.merge_into(layer, [node])
    return editor.finish()


def _factor_offset(editor: Editor, norm: onnx.NodeProto) -> tuple[Array, Array] | None:
    gamma, beta, mean, variance = (_float64(editor, name) for name in norm.input[1:5])
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    factor = gamma / np.sqrt(variance + attribute(norm, "epsilon", _EPSILON))
    return factor, beta - mean * factor


def _fold_into_scale(editor: Editor, layer: onnx.NodeProto, factor: Array, offset: Array) -> bool:
    scale, bias = (_float64(editor, name) for name in layer.input[2:4])
    if scale is None or bias is None or attribute(layer, "activation") != "none":
        return False
    _set_constant(editor, layer, 2, scale * factor)
    _set_constant(editor, layer, 3, bias * factor + offset)
    return True


def _fold_into_weight(editor: Editor, layer: onnx.NodeProto, factor: Array, offset: Array) -> bool:
    weight = _float64(editor, layer.input[1])
    bias = _float64(editor, layer.input[2]) if len(layer.input) > 2 else np.zeros_like(factor)
    if weight is None or bias is None:
        return False
    _set_constant(editor, layer, 1, weight * factor.reshape(-1, *[1] * (weight.ndim - 1)))
    _set_constant(editor, layer, 2, bias * factor + offset)
    return True


def _float64(editor: Editor, name: str) -> Array | None:
    value = editor.constant(name)
    return None if value is None else value.astype(np.float64)


def _set_constant(editor: Editor, layer: onnx.NodeProto, index: int, value: Array) -> None:
    """Gives the node a new initializer, since others may share the old one."""
    name = f"{layer.output[0]}.folded.{index}"
    editor.set_input(layer, index, editor.add_constant(name, value.astype(np.float32)))

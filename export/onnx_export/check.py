"""Refuses a model whose custom nodes break the contract (docs/operators.md, section 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import AttributeProto

from export.onnx_export import codec
from export.onnx_export.graph import Array, Editor, attribute, is_custom
from export.operator_table import (
    CONTRACT_VERSION,
    DOMAIN,
    LARGEST_ATTRIBUTE,
    OPERATORS,
    Attribute,
)

_TYPES = {
    "ints": AttributeProto.INTS,
    "int": AttributeProto.INT,
    "string": AttributeProto.STRING,
}


def check_model(model: onnx.ModelProto) -> None:
    """Raises ValueError naming the node, the field and both values for the first breach.

    It checks attributes, the number of inputs, the types, shapes and codes of weights, and the
    channels of X where value_info has them. Weights must be initializers.
    """
    editor = Editor(model)
    channels = _channels(model)
    for node in editor.nodes:
        if node.domain != DOMAIN:
            continue
        if not is_custom(node):
            raise ValueError(f"{_title(node)}: {_why_not(node)}")
        _check_attributes(node)
        _check_weights(editor, node, channels.get(node.input[0]) if node.input else None)
    _check_version(model, editor)


def _why_not(node: onnx.NodeProto) -> str:
    """Why an operator of the domain that is no float one has no place in the model."""
    if node.op_type in OPERATORS:
        return (
            "is an integer operator, and only float models are checked here: give the float model "
            "that this one was quantized from"
        )
    return f"the contract has no such operator in version {CONTRACT_VERSION}"


def _check_version(model: onnx.ModelProto, editor: Editor) -> None:
    versions = [entry.version for entry in model.opset_import if entry.domain == DOMAIN]
    if any(is_custom(node) for node in editor.nodes) and versions != [CONTRACT_VERSION]:
        raise ValueError(f"opset_import of {DOMAIN} must be {CONTRACT_VERSION}, got {versions}")


def _check_attributes(node: onnx.NodeProto) -> None:
    operator = OPERATORS[node.op_type]
    given = {entry.name: entry for entry in node.attribute}
    if set(given) != set(operator.attribute_names):
        _refuse(node, "attributes", sorted(operator.attribute_names), sorted(given))
    for described in operator.attributes:
        _check_attribute(node, given[described.name], described)


def _check_attribute(node: onnx.NodeProto, entry: AttributeProto, described: Attribute) -> None:
    kind = _TYPES[described.type]
    if entry.type != kind:
        names = AttributeProto.AttributeType.Name
        _refuse(node, f"type of {entry.name}", names(kind), names(entry.type))
    value = attribute(node, entry.name)
    if described.choices:
        if str(value) not in described.choices:
            _refuse(node, entry.name, described.expected, value)
    elif described.type == "ints":
        if len(value) != described.length or not all(_allowed(described, v) for v in value):
            expected = f"{described.length} integers {_limits(described)}"
            _refuse(node, entry.name, expected, value)
    elif not _allowed(described, value):
        _refuse(node, entry.name, f"an integer {_limits(described)}", value)


def _allowed(described: Attribute, value: int) -> bool:
    return described.least <= value <= LARGEST_ATTRIBUTE


def _limits(described: Attribute) -> str:
    return f"from {described.least} to {LARGEST_ATTRIBUTE}"


def _check_weights(editor: Editor, node: onnx.NodeProto, channels: int | None) -> None:
    names = OPERATORS[node.op_type].input_names
    if len(node.input) != len(names) or not all(node.input):
        *others, last = names
        _refuse(node, "inputs", f"{', '.join(others)} and {last}", list(node.input))
    weight, scale, bias = (_initializer(editor, node, i) for i in (1, 2, 3))
    outputs = weight.shape[0] if weight.ndim else 0
    for name, value in (("scale", scale), ("bias", bias)):
        _check_array(node, name, value, np.float32, [outputs])
        if not np.isfinite(value).all():
            _refuse(node, name, "finite values", value[~np.isfinite(value)][0])
    group = attribute(node, "group")
    if outputs < 1 or outputs % group:
        _refuse(node, "output channels", f"a positive multiple of group {group}", outputs)
    if channels is not None and channels % group:
        _refuse(node, "channels of X", f"a multiple of group {group}", channels)
    if "weight_bits" in OPERATORS[node.op_type].attribute_names:
        _check_packed_weight(node, weight, channels)
    else:
        _check_plain_weight(node, weight, channels)


def _check_plain_weight(node: onnx.NodeProto, weight: Array, channels: int | None) -> None:
    depth = weight.shape[1] if weight.ndim == 4 else 0
    if channels is not None:
        depth = channels // attribute(node, "group")
    shape = [weight.shape[0], max(depth, 1), *attribute(node, "kernel_shape")]
    _check_array(node, "W", weight, np.float32, shape)
    if not np.isfinite(weight).all():
        _refuse(node, "W", "finite values", weight[~np.isfinite(weight)][0])


def _check_packed_weight(node: onnx.NodeProto, weight: Array, channels: int | None) -> None:
    if channels is None:
        raise ValueError(f"{_title(node)}: X has no known number of channels")
    depth = channels // attribute(node, "group")
    shape = (weight.shape[0], depth, *attribute(node, "kernel_shape"))
    try:
        codec.unpack(weight, shape, attribute(node, "weight_bits"))
    except ValueError as error:
        raise ValueError(f"{_title(node)}: W: {error}") from error


def _check_array(
    node: onnx.NodeProto, name: str, value: Array, dtype: type, shape: Sequence[int]
) -> None:
    if value.dtype != dtype:
        _refuse(node, f"type of {name}", np.dtype(dtype), value.dtype)
    if list(value.shape) != list(shape):
        _refuse(node, f"shape of {name}", list(shape), list(value.shape))


def _initializer(editor: Editor, node: onnx.NodeProto, index: int) -> Array:
    value = editor.constant(node.input[index])
    if value is None:
        _refuse(node, f"input {index}", "an initializer", node.input[index])
    return value


def _channels(model: onnx.ModelProto) -> dict[str, int]:
    channels = {}
    for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]:
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 4 and dims[1].dim_value:
            channels[value.name] = dims[1].dim_value
    return channels


def _title(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]}"


def _refuse(node: onnx.NodeProto, field: str, expected: Any, got: Any) -> NoReturn:
    raise ValueError(f"{_title(node)}: {field}: expected {expected}, got {got}")

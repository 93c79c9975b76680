"""Damages ONNX models where it hurts: in nodes, attributes, weights, shapes, types and metadata.

Bytes changed at random hardly ever leave a protobuf message that is still one; here the message is
taken apart, some things in it are changed, and it is put together again.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from typing import Any

import numpy as np
from google.protobuf import message
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from export.operator_table import ACTIVATIONS, LAYOUTS, OPERATORS

Generator = np.random.Generator
Change = Callable[[ModelProto, Generator], None]

_LIMITS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    2**31 - 1,
    2**31,
    -(2**31),
    2**32 + 1,
    2**62,
    2**63 - 1,
    -(2**63),
)
_TEXTS = (
    "", *ACTIVATIONS, *LAYOUTS, "gelu", "relu\0", "\n", "a" * 3000,
)  # fmt: skip
_JSON = (
    "", "0", "-1", "1e999", "NaN", "null", "true", "[]", "{}", '"', "[[", "99999999", "9" * 25,
    "9" * 5000, "1" + "0" * 400, "²", '"\\ud800"', "\n", "\u2028",
)  # fmt: skip
_OPERATORS = (*OPERATORS, "Conv")
_TYPES = (
    TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64,
    TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL, TensorProto.STRING, 0, 99,
)  # fmt: skip


def damaged(model: ModelProto, rng: Generator) -> ModelProto:
    """The model with one to three things changed; now and then with none."""
    copy = ModelProto()
    copy.CopyFrom(model)
    # Half of the changes are of the metadata, where there is some.
    for _ in range(rng.integers(0, 4)):
        of_metadata = len(model.metadata_props) > 0 and rng.integers(2) == 0
        change: Change = _change_metadata if of_metadata else _choice(_CHANGES, rng)
        change(copy, rng)
    return copy


def damaged_bytes(data: bytes, most: int, seed: int, mutate: Callable[[bytes], bytes]) -> bytes:
    """A file of up to `most` bytes damaged in its parts, or, where it is none or that would be too
    long, and every fourth time, by `mutate`."""
    rng = np.random.default_rng(seed)
    model = ModelProto()
    if rng.integers(4) == 0:
        return mutate(data)
    try:
        model.ParseFromString(data)
        result = damaged(model, rng).SerializeToString()
    # What is no message, texts that are none, and what has become too odd to be written.
    except (message.DecodeError, message.EncodeError, TypeError, ValueError):
        return mutate(data)
    return result if len(result) <= most else mutate(data)


def _choice(values: Any, rng: Generator) -> Any:
    return values[int(rng.integers(len(values)))]


def _integer(value: int, rng: Generator) -> int:
    if rng.integers(2):
        return int(_choice(_LIMITS, rng))
    return int(np.clip(value + int(rng.integers(-2, 3)), -(2**63), 2**63 - 1))


def _resize(values: MutableSequence[int], rng: Generator) -> None:
    """Drops one, or says one twice."""
    if values and rng.integers(2):
        del values[int(rng.integers(len(values)))]
    else:
        values.append(int(_choice(_LIMITS, rng)))


def _node(model: ModelProto, rng: Generator) -> NodeProto:
    nodes = [node for node in model.graph.node if node.domain == "shiftadd"] or model.graph.node
    chosen: NodeProto = _choice(nodes, rng) if nodes else model.graph.node.add()
    return chosen


def _change_attribute(model: ModelProto, rng: Generator) -> None:
    node = _node(model, rng)
    if not node.attribute:
        node.attribute.append(helper.make_attribute("group", 1))
    attribute: AttributeProto = _choice(node.attribute, rng)
    what = rng.integers(8)
    if what == 0:
        attribute.name = _choice([*(a.name for a in node.attribute), "", "x"], rng)
    elif what == 1:
        node.attribute.remove(attribute)
    elif what == 2:
        node.attribute.append(attribute)
    elif what == 3:
        attribute.type = _choice(AttributeProto.AttributeType.values(), rng)
    elif attribute.ints and what == 4:
        _resize(attribute.ints, rng)
    elif attribute.ints:
        attribute.ints[int(rng.integers(len(attribute.ints)))] = _integer(attribute.ints[0], rng)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = str(_choice(_TEXTS, rng)).encode() if what > 4 else rng.bytes(5)
    else:
        attribute.i = _integer(attribute.i, rng)


def _change_node(model: ModelProto, rng: Generator) -> None:
    node = _node(model, rng)
    what = rng.integers(6)
    if what == 0:
        node.op_type = _choice(_OPERATORS, rng)
    elif what == 1:
        node.domain = _choice(("", "shiftadd", "com.microsoft", "other"), rng)
    elif what == 2:
        node.name = _choice(("", "\n", "n" * 5000, "ü", "the_node"), rng)
    elif what == 3:
        node.output.append(_choice(("", "Y2", "X"), rng))
    elif node.input:
        at = int(rng.integers(len(node.input)))
        if what == 4:
            del node.input[at]
        else:
            node.input.insert(at, _choice([*node.input, "", "nothing"], rng))


def _change_tensor(model: ModelProto, rng: Generator) -> None:
    graph: GraphProto = model.graph
    if not graph.initializer:
        return
    tensor: TensorProto = _choice(graph.initializer, rng)
    what = rng.integers(8)
    if what == 0:
        _resize(tensor.dims, rng)
    elif what == 1 and tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = _integer(tensor.dims[0], rng)
    elif what == 2:
        tensor.data_type = _choice(_TYPES, rng)
    elif what == 3:
        tensor.raw_data = tensor.raw_data[: int(rng.integers(len(tensor.raw_data) + 1))]
    elif what == 4:
        graph.initializer.remove(tensor)
    elif what == 5:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, None)
        graph.input.append(value)
        graph.initializer.remove(tensor)
    elif tensor.raw_data:
        content = bytearray(tensor.raw_data)
        for _ in range(int(rng.integers(1, 5))):
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
        tensor.raw_data = bytes(content)


def _change_value(model: ModelProto, rng: Generator) -> None:
    values = [*model.graph.input, *model.graph.output]
    if not values:
        return
    tensor = _choice(values, rng).type.tensor_type
    what = rng.integers(5)
    if what == 0:
        tensor.elem_type = _choice(_TYPES, rng)
    elif what == 1:
        tensor.ClearField("shape")
    elif what == 2:
        tensor.shape.dim.add().dim_value = int(rng.integers(0, 9))
    elif tensor.shape.dim:
        _choice(tensor.shape.dim, rng).dim_value = _integer(4, rng)


def _change_version(model: ModelProto, rng: Generator) -> None:
    if rng.integers(2) and model.opset_import:
        opset = _choice(model.opset_import, rng)
        opset.version = _integer(opset.version, rng)
    else:
        model.ir_version = _integer(model.ir_version, rng)


def _change_metadata(model: ModelProto, rng: Generator) -> None:
    if not model.metadata_props:
        return
    entry = _choice(model.metadata_props, rng)
    what = rng.integers(6)
    if what == 0:
        model.metadata_props.remove(entry)
    elif what == 1:
        entry.key = _choice([other.key for other in model.metadata_props] + ["", "shiftadd."], rng)
    else:
        # Each time some of the text goes, and something comes in its place.
        begin = int(rng.integers(len(entry.value) + 1))
        end = min(len(entry.value), begin + int(rng.integers(4)))
        entry.value = entry.value[:begin] + _choice(_JSON, rng) + entry.value[end:]


_CHANGES: tuple[Change, ...] = (
    *(_change_attribute, _change_attribute, _change_tensor, _change_tensor),
    *(_change_node, _change_value, _change_version),
)

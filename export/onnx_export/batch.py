"""The batch in shapes: where a Reshape leaves it alone, and what becomes of it elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
from onnx import helper

from export.onnx_export.graph import Editor, attribute, is_custom, with_graph

_BATCHES = (2, 3, 5)
"""Two sizes tell how an extent grows with the batch, the third one proves it."""


def keep_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a 0 ("as in the input") for the -1 at the first axis of a Reshape, where it
    means the input's first extent: shape inference follows the former alone.

    Reads value_info: run it after shape inference.
    """
    editor = Editor(model)
    extents = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*model.graph.value_info, *model.graph.input]
    }
    for node in editor.nodes:
        shape = editor.constant(node.input[1]) if node.op_type == "Reshape" else None
        before = extents.get(node.input[0]) if shape is not None else None
        if shape is None or not before or shape.size == 0 or shape[0] != -1:
            continue
        rest = [int(extent) for extent in shape[1:]]
        if min(rest, default=1) > 0 and math.prod(rest) == math.prod(before[1:]) > 0:
            kept = np.array([0, *rest], np.int64)
            editor.set_input(node, 1, editor.add_constant(f"{node.output[0]}.shape", kept))
    return editor.finish()


def measure(model: onnx.ModelProto, names: Sequence[str], batch: str) -> dict[str, list[int | str]]:
    """The shapes of the values `names`, seen at three sizes of the batch: numbers, and what stands
    for an extent that grows with the batch (`batch` itself, "2*N", "4*N+1").

    The model has one input, whose shape but for the batch is known. Raises ValueError for an
    extent that is no linear function of the batch.
    """
    probe = _without_custom_nodes(model)
    probe.graph.ClearField("output")
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (given,) = model.graph.input
    size = [dim.dim_value for dim in given.type.tensor_type.shape.dim[1:]]
    runs = [session.run(None, {given.name: np.zeros((n, *size), np.float32)}) for n in _BATCHES]
    return {
        name: [_extent(name, of, batch) for of in zip(*(v.shape for v in values), strict=True)]
        for name, values in zip(names, zip(*runs, strict=True), strict=True)
    }


def _without_custom_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a pooling of the same window, expanded to M channels, for each custom node."""
    editor = Editor(model)
    nodes: list[onnx.NodeProto] = []
    for node in editor.nodes:
        nodes.extend(_pooling(editor, node) if is_custom(node) else [node])
    result = with_graph(editor.model, nodes, editor.graph.initializer)
    for domain in [entry for entry in result.opset_import if entry.domain]:
        result.opset_import.remove(domain)
    return result


def _pooling(editor: Editor, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    out = node.output[0]
    padded, pooled, one = (f"{out}/{step}" for step in ("padded", "pooled", "one"))
    top, left, bottom, right = attribute(node, "pads")
    pads = editor.add_constant(f"{out}/pads", np.array([0, 0, top, left, 0, 0, bottom, right]))
    channels = editor.constants[node.input[2]].size
    shape = editor.add_constant(f"{out}/channels", np.array([1, channels, 1, 1]))
    window = {key: attribute(node, key) for key in ("kernel_shape", "strides", "dilations")}
    return [
        helper.make_node("Pad", [node.input[0], pads], [padded]),
        helper.make_node("MaxPool", [padded], [pooled], **window),
        helper.make_node("ReduceMax", [pooled], [one], axes=[1]),
        helper.make_node("Expand", [one, shape], [out]),
    ]


def _extent(name: str, seen: tuple[int, ...], batch: str) -> int | str:
    first, second, third = _BATCHES
    slope, rest = divmod(seen[1] - seen[0], second - first)
    offset = seen[0] - slope * first
    if rest or slope * third + offset != seen[2]:
        raise ValueError(f"the extents of {name} for batches of {_BATCHES} are {seen}: not linear")
    if slope == 0:
        return seen[0]
    factor = batch if slope == 1 else f"{slope}*{batch}"
    return f"{factor}{offset:+d}" if offset else factor

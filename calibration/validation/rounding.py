"""What rounding to codes alone costs a layer, told by the float layer with its input and weights
rounded.

A right integer layer loses no more. The figure is computed by the float operators from the float
weights, so that neither the quantizer's arithmetic nor the integer kernels' is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calibration.quantization import Grid
from calibration.validation.layers import Layer
from export.onnx_export.graph import Array, is_custom


@dataclass(frozen=True)
class RoundedLayers:
    """A graph in which every layer reads inputs of its own.

    Attributes:
        content: the ONNX model. It reads values of the float model, which have to be rounded to
            codes first; its outputs are the layers' `isolated`, which are not rounded yet.
        values: those that it reads.
    """

    content: bytes
    values: tuple[str, ...]


def rounded_layers(
    float_model: onnx.ModelProto, layers: Iterable[Layer], grids: Mapping[str, Grid]
) -> RoundedLayers:
    """The float model's nodes of the quantized `layers`, adder weights rounded."""
    quantized = {layer.value: layer for layer in layers if layer.quantized}
    weights = {tensor.name: tensor for tensor in float_model.graph.initializer}
    nodes, constants, read, outputs = [], [], {}, []
    for node in float_model.graph.node:
        layer = quantized.get(node.output[0])
        if layer is None:
            continue
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.output[0] = layer.isolated
        if is_custom(node) and node.op_type == "AdderConv":
            rounded = _rounded(numpy_helper.to_array(weights[node.input[1]]), grids[node.input[0]])
            copy.input[1] = f"{layer.isolated}/W"
            constants.append(numpy_helper.from_array(rounded, copy.input[1]))
        nodes.append(copy)
        read.update(dict.fromkeys(name for name in node.input if name not in weights))
        outputs.append(helper.make_tensor_value_info(layer.isolated, TensorProto.FLOAT, None))
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in read]
    graph = helper.make_graph(nodes, "rounded", inputs, outputs, [*weights.values(), *constants])
    model = helper.make_model(
        graph, ir_version=float_model.ir_version, opset_imports=float_model.opset_import
    )
    return RoundedLayers(bytes(model.SerializeToString()), tuple(read))


def _rounded(weight: Array, grid: Grid) -> Array:
    """An adder's weights, each moved by the error of its rounding to the input's grid.

    Beyond the grid's ends a clamped weight costs nothing (docs/operators.md, section 5.4): such a
    weight moves by the rounding of the end.
    """
    clamped = weight.clip(grid.low, grid.high)
    moved = np.rint(clamped / grid.scale) * grid.scale - clamped
    return np.asarray(weight + moved, np.float32)

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

from calibration.integer_form import MULTIPLYING, IntegerForm, rows
from calibration.quantization import Grid
from calibration.validation.layers import Layer
from calibration.weights import multipliers
from export.onnx_export.graph import Array, Editor, is_custom, set_attribute


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
    """The float model's nodes of the quantized `layers`, weights rounded."""
    builder = _Builder(float_model, grids)
    quantized = {layer.value: layer for layer in layers if layer.quantized}
    for node in float_model.graph.node:
        layer = quantized.get(node.output[0])
        if layer is not None:
            builder.add(node, layer)
    return builder.layers()


class _Builder:
    """The graph of the layers, node by node."""

    def __init__(self, model: onnx.ModelProto, grids: Mapping[str, Grid]) -> None:
        self._model = model
        self._grids = grids
        self._editor = Editor(model)
        self._form = IntegerForm(self._editor, {}, ())
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._read: dict[str, None] = {}
        self._outputs: list[str] = []

    def add(self, node: onnx.NodeProto, layer: Layer) -> None:
        """The layer's node or, for a ReLU that is done by the sum before it, both."""
        output = layer.isolated
        if node.op_type == "Relu" and layer.operator != "Relu":
            made = f"{output}/sum"
            self._nodes.append(helper.make_node("Relu", [made], [output]))
            node, output = self._editor.producers[node.input[0]], made
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.output[0] = output
        self._round_weights(node, copy)
        # Before its ReLU.
        self._nodes.insert(len(self._nodes) - (output != layer.isolated), copy)
        computed = [name for name in node.input if name not in self._editor.constants]
        self._read.update(dict.fromkeys(computed))
        self._outputs.append(layer.isolated)

    def _round_weights(self, node: onnx.NodeProto, copy: onnx.NodeProto) -> None:
        narrow = self._form.four_bits(node)
        if narrow is not None:
            scale = self._editor.constants[node.input[2]] * narrow.factor
            self._replace(copy, 1, narrow.words)
            self._replace(copy, 2, scale)
            set_attribute(copy, "weight_bits", 4)
        elif node.op_type in MULTIPLYING:
            self._round_multipliers(node, copy)
        elif is_custom(node) and node.op_type == "AdderConv":
            weight = self._editor.constants[node.input[1]]
            self._replace(copy, 1, _rounded(weight, self._grids[node.input[0]]))

    def _round_multipliers(self, node: onnx.NodeProto, copy: onnx.NodeProto) -> None:
        weight = self._editor.constants[node.input[1]]
        by_output = weight if node.op_type == "Conv" else rows(node, weight)
        # The bias has 32 bits: its rounding is beneath notice.
        rounded = multipliers(by_output, np.zeros(len(by_output)), 1.0).weights
        made = rounded if node.op_type == "Conv" else rows(node, rounded)
        self._replace(copy, 1, np.ascontiguousarray(made))

    def _replace(self, copy: onnx.NodeProto, index: int, value: Array) -> None:
        copy.input[index] = f"{copy.output[0]}/{index}"
        self._constants.append(numpy_helper.from_array(value, copy.input[index]))

    def layers(self) -> RoundedLayers:
        def tensor(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)

        weights = [*self._model.graph.initializer, *self._constants]
        inputs, outputs = map(tensor, self._read), map(tensor, self._outputs)
        graph = helper.make_graph(self._nodes, "rounded", list(inputs), list(outputs), weights)
        model = helper.make_model(
            graph, ir_version=self._model.ir_version, opset_imports=self._model.opset_import
        )
        return RoundedLayers(bytes(model.SerializeToString()), tuple(self._read))


def _rounded(weight: Array, grid: Grid) -> Array:
    """An adder's weights, each moved by the error of its rounding to the input's grid.

    Beyond the grid's ends a clamped weight costs nothing (docs/operators.md, section 5.4): such a
    weight moves by the rounding of the end.
    """
    clamped = weight.clip(grid.low, grid.high)
    moved = np.rint(clamped / grid.scale) * grid.scale - clamped
    return np.asarray(weight + moved, np.float32)

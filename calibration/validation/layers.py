"""The layers of an integer model, and a graph that runs each of them by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from calibration.validation.codes import codes_name, value_name
from export.onnx_export.graph import is_custom
from runtime.core.errors import ModelError
from runtime.core.session import INPUT

_ISOLATED = "/isolated"
_WEIGHTED = ("Conv", "Gemm")


@dataclass(frozen=True)
class Layer:
    """A layer of the float model in the integer one.

    Attributes:
        name: its node's in both models; for the image's own codes, the graph's input's.
        operator: the type of its node in the integer model.
        value: what it makes, as the float model calls it.
        quantized: whether it makes codes; a layer that stays in float makes the value itself.
    """

    name: str
    operator: str
    value: str
    quantized: bool

    @property
    def output(self) -> str:
        """The tensor that it makes in the integer model."""
        return codes_name(self.value) if self.quantized else self.value

    @property
    def isolated(self) -> str:
        """The tensor that it makes in the graph of `isolated_layers`."""
        return self.output + _ISOLATED


INPUT_LAYER = Layer(INPUT, "QuantizeLinear", INPUT, True)
"""The image's own codes."""


def match_layers(float_graph: onnx.GraphProto, integer_graph: onnx.GraphProto) -> list[Layer]:
    """The quantized layers, and those layers with weights that stay in float, in order.

    The image's own codes come first, where the model quantizes the image.

    Raises ModelError where a layer with weights has no node in the integer model.
    """
    makers = {name: node for node in integer_graph.node for name in node.output}
    layers = []
    if codes_name(INPUT) in makers:
        layers.append(INPUT_LAYER)
    names = {node.name: node for node in integer_graph.node if node.name}
    relus = {node.input[0]: node.output[0] for node in float_graph.node if node.op_type == "Relu"}
    for node in float_graph.node:
        twin, value = names.get(node.name), node.output[0]
        if twin is not None and codes_name(value) not in makers and value not in makers:
            value = relus.get(value, value)  # one integer layer with its ReLU
        weighted = is_custom(node) or node.op_type in _WEIGHTED
        if twin is None and weighted:
            raise ModelError(
                f"no node for the layer {node.name}: it was made from another network; write it "
                "again with `make calibrate`"
            )
        if twin is not None and codes_name(value) in makers and value not in twin.output:
            layers.append(Layer(node.name, twin.op_type, value, True))
        elif twin is not None and weighted:
            layers.append(Layer(node.name, twin.op_type, value, False))
    return layers


@dataclass(frozen=True)
class IsolatedLayers:
    """A graph in which no layer reads what another one made.

    Attributes:
        content: the ONNX model. Its outputs are the layers' `isolated`.
        codes: values of the float model whose codes it reads.
        values: values of the float model that it reads as they are.
    """

    content: bytes
    codes: tuple[str, ...]
    values: tuple[str, ...]


def isolated_layers(
    integer_model: onnx.ModelProto, layers: Iterable[Layer], values: Collection[str]
) -> IsolatedLayers:
    """The quantized ones of `layers`, each with inputs of its own.

    Args:
        values: the float model's, its input included.
    """
    source = integer_model.graph
    constants = {tensor.name for tensor in source.initializer}
    read: dict[str, None] = {}
    nodes: list[onnx.NodeProto] = []
    quantized = [layer for layer in layers if layer.quantized]
    for layer in quantized:
        copies = _copies(layer, source.node, values)
        nodes += copies
        read.update(dict.fromkeys(name for node in copies for name in node.input))
    codes = tuple(value for value in map(value_name, read) if value in values and value)
    plain = tuple(name for name in read if name in values and name not in constants)
    inputs = [_tensor(codes_name(value), TensorProto.UINT8) for value in codes]
    inputs += [_tensor(name, TensorProto.FLOAT) for name in plain]
    outputs = [_tensor(layer.isolated, TensorProto.UINT8) for layer in quantized]
    graph = helper.make_graph(nodes, "isolated", inputs, outputs, source.initializer)
    model = helper.make_model(
        graph, ir_version=integer_model.ir_version, opset_imports=integer_model.opset_import
    )
    return IsolatedLayers(bytes(model.SerializeToString()), codes, plain)


def _copies(
    layer: Layer, nodes: Sequence[onnx.NodeProto], values: Collection[str]
) -> list[onnx.NodeProto]:
    """Copies of the nodes that make the layer's codes, back to values of the float model or codes
    of such values. The tensors between them are named after the layer."""
    made = {name for node in nodes for name in node.output}
    renamed = {layer.output: layer.isolated}
    copies = []
    for node in reversed(nodes):
        if not any(name in renamed for name in node.output):
            continue
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{layer.isolated}/{node.name}"
        for name in node.input:
            if name in made and name not in values and value_name(name) not in values:
                renamed[name] = f"{layer.isolated}/{name}"
        for names in (copy.input, copy.output):
            names[:] = [renamed.get(name, name) for name in names]
        copies.append(copy)
    return copies[::-1]


def _tensor(name: str, element: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, None)


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> bytes:
    """The model's file with the tensors `names` as further outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    returned = {output.name for output in copy.graph.output} | {INPUT}
    # The new outputs need no types: ONNX Runtime infers them, even for custom operators.
    copy.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in returned
    )
    return bytes(copy.SerializeToString())

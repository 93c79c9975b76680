"""Which nodes of a float graph have an integer form, and why the others have none."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import onnx

from calibration.scales import Scale
from calibration.weights import FourBits, four_bits
from export.onnx_export.graph import Array, Editor, attribute, is_custom
from export.operator_table import OPERATORS

Shape = tuple[int | str, ...]

LEAST_DECIBELS = 30.0
"""A shift layer with 8-bit codes is written with 4-bit codes where that leaves its weights this
signal-to-noise ratio: a hundredth of a tensor's deviation is what rounding to codes costs anyway,
which is 40 dB, and a layer adds up many weights."""

MULTIPLYING = ("Conv", "Gemm", "MatMul")
"""Layers that multiply, and may be integer."""
_WITH_RELU = ("Add", "Mul", *MULTIPLYING)
# Of a Gemm that is a linear layer, with weights [M, K] or [K, M].
_LINEAR = {"alpha": 1.0, "beta": 1.0, "transA": 0}
_WEIGHTED = ("ConvTranspose", *MULTIPLYING)


class IntegerForm:
    """Decides node by node.

    Args:
        editor: the float graph, whose value_info has the shapes.
        scales: of the values that have a grid: float ones that are not constants.
        keep_float: names of nodes that are to compute in float.
    """

    def __init__(
        self, editor: Editor, scales: Mapping[str, Scale], keep_float: Collection[str]
    ) -> None:
        self._editor = editor
        self._constants = editor.constants
        self._scales = scales
        self._keep_float = keep_float
        graph = editor.graph
        self.shapes: Mapping[str, Shape] = {
            value.name: _shape(value.type.tensor_type.shape)
            for value in [*graph.input, *graph.value_info, *graph.output]
            if value.type.tensor_type.HasField("shape")
        }
        self._four_bits: dict[str, FourBits | None] = {}
        # A graph without shapes still says this much.
        planes = (node for node in editor.nodes if is_custom(node))
        self._planes = {name for node in planes for name in (node.input[0], node.output[0])}

    def rank(self, value: str) -> int:
        """How many dimensions the value has; 0 where that is not known."""
        return 4 if value in self._planes else len(self.shapes.get(value, ()))

    def why_not(self, node: onnx.NodeProto) -> str | None:
        """Why the node computes in float, in a few words; None where it computes on codes."""
        if node.name in self._keep_float:
            return "KEEP_FLOAT names it"
        if is_custom(node):
            return self._why_not_custom(node)
        if self.absorber(node) is not None:
            return None
        if node.op_type in ("Add", "Mul", "Concat"):
            return self._why_not_joined(node)
        if node.op_type in MULTIPLYING:
            return self._why_not_multiplying(node)
        if node.op_type == "GlobalAveragePool":
            return None if self.rank(node.input[0]) == 4 else "it pools no planes"
        return f"{node.op_type} has no integer form here"

    def is_layer(self, node: onnx.NodeProto) -> bool:
        """Whether the node has weights."""
        if is_custom(node):
            return True
        weights = any(name in self._constants for name in node.input[1:])
        return node.op_type in _WEIGHTED and weights

    def four_bits(self, node: onnx.NodeProto) -> FourBits | None:
        """The weights of a ShiftConv with 8-bit codes in 4-bit ones (docs/operators.md, section 5);
        None for another node, and where the graph does not say how many channels it reads."""
        name = node.output[0]
        if name not in self._four_bits:
            self._four_bits[name] = self._find_four_bits(node)
        return self._four_bits[name]

    def _find_four_bits(self, node: onnx.NodeProto) -> FourBits | None:
        shape = self.shapes.get(node.input[0], ())
        is_wide = is_custom(node) and attribute(node, "weight_bits", 4) == 8
        words = self._constants.get(node.input[1]) if is_wide else None
        if words is None or len(shape) != 4 or not isinstance(shape[1], int):
            return None
        taps = math.prod(attribute(node, "kernel_shape"))
        return four_bits(words, shape[1] // attribute(node, "group", 1) * taps)

    def absorbed(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The ReLU that a node before it does by the end of its codes: its one reader, whose grid
        begins at 0."""
        value = node.output[0]
        if node.op_type not in _WITH_RELU or not self._editor.has_one_reader(value):
            return None
        (reader,) = self._editor.readers(value)
        kept = {node.name, reader.name} & set(self._keep_float)
        if reader.op_type != "Relu" or kept or self.why_not(node) is not None:
            return None
        scale = self._scales.get(reader.output[0])
        return reader if scale is not None and scale.grid.zero_point == 0 else None

    def absorber(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The node that does this ReLU."""
        if node.op_type != "Relu":
            return None
        producer = self._editor.producer(node.input[0], *_WITH_RELU)
        return producer if producer is not None and self.absorbed(producer) is node else None

    def _why_not_custom(self, node: onnx.NodeProto) -> str | None:
        if f"QLinear{node.op_type}" not in OPERATORS:
            return f"{node.op_type} has no integer form here"
        bits = attribute(node, "weight_bits", 4)
        if bits == 4:
            return None
        narrow = self.four_bits(node)
        if narrow is None:
            return f"its weights have {bits} bits, and integers take 4"
        if narrow.decibels < LEAST_DECIBELS:
            return f"4 bits would leave its weights {narrow.decibels:.0f} dB"
        return None

    def _why_not_multiplying(self, node: onnx.NodeProto) -> str | None:
        """Of a convolution, or a linear layer in its form: two or four dimensions, and weights that
        are constants."""
        rank = 4 if node.op_type == "Conv" else 2
        if {self.rank(node.input[0]), self.rank(node.output[0])} != {rank}:
            return f"it is no {node.op_type} of {rank} dimensions"
        if any(name not in self._constants for name in node.input[1:]):
            return "its weights are computed"
        if attribute(node, "auto_pad", "NOTSET") != "NOTSET":
            return "its padding is not written down"
        linear = [attribute(node, name, default) for name, default in _LINEAR.items()]
        bias = self._constants[node.input[2]] if len(node.input) > 2 else None
        if linear != list(_LINEAR.values()) or (bias is not None and bias.ndim != 1):
            return "it scales or transposes what it multiplies"
        return None

    def _why_not_joined(self, node: onnx.NodeProto) -> str | None:
        """Of a node that joins values: they have to lie alike, channels last."""
        names = [*node.input, node.output[0]]
        if any(name in self._constants for name in node.input):
            return "a constant is one of its inputs"
        if any(name not in self._scales for name in names):
            return "its values are no floats"
        ranks = {self.rank(name) for name in names}
        if len(ranks) > 1 or min(ranks) < 2:
            return "its inputs have different numbers of dimensions, or unknown ones"
        return None


def rows(node: onnx.NodeProto, weight: Array) -> Array:
    """A linear layer's weights as [M, K], a row for each output, whichever way the node has them.
    Applied to such rows, it gives the node's own form back."""
    return weight if attribute(node, "transB", 0) else weight.T


def _shape(shape: onnx.TensorShapeProto) -> Shape:
    return tuple(size.dim_param or size.dim_value for size in shape.dim)

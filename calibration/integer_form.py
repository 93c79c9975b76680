"""Which nodes of a float graph have an integer form, and why the others have none."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx

from export.onnx_export.graph import Editor, attribute, is_custom

Shape = tuple[int | str, ...]

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class IntegerForm:
    """Decides node by node.

    Args:
        editor: the float graph, whose value_info has the shapes.
        activations: names of the values that a grid is known for: float, and not constants.
        keep_float: names of nodes that are to compute in float.
    """

    def __init__(
        self, editor: Editor, activations: Collection[str], keep_float: Collection[str]
    ) -> None:
        self._constants = editor.constants
        self._activations = activations
        self._keep_float = keep_float
        graph = editor.graph
        self.shapes: Mapping[str, Shape] = {
            value.name: _shape(value.type.tensor_type.shape)
            for value in [*graph.input, *graph.value_info, *graph.output]
            if value.type.tensor_type.HasField("shape")
        }

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
            # The integer ShiftConv has 4-bit codes only (docs/operators.md, section 5).
            bits = attribute(node, "weight_bits", 4)
            return None if bits == 4 else f"its weights have {bits} bits, and integers take 4"
        if node.op_type in ("Add", "Mul", "Concat"):
            return self._why_not_joined(node)
        if node.op_type == "GlobalAveragePool":
            return None if self.rank(node.input[0]) == 4 else "it pools no planes"
        return f"{node.op_type} has no integer form here"

    def is_layer(self, node: onnx.NodeProto) -> bool:
        """Whether the node has weights."""
        if is_custom(node):
            return True
        weights = any(name in self._constants for name in node.input[1:])
        return node.op_type in _WEIGHTED and weights

    def _why_not_joined(self, node: onnx.NodeProto) -> str | None:
        """Of a node that joins values: they have to lie alike, channels last."""
        names = [*node.input, node.output[0]]
        if any(name in self._constants for name in node.input):
            return "a constant is one of its inputs"
        if any(name not in self._activations for name in names):
            return "its values are no floats"
        ranks = {self.rank(name) for name in names}
        if len(ranks) > 1 or min(ranks) < 2:
            return "its inputs have different numbers of dimensions, or unknown ones"
        return None


def _shape(shape: onnx.TensorShapeProto) -> Shape:
    return tuple(size.dim_param or size.dim_value for size in shape.dim)

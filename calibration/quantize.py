"""The quantized graph: it computes on integers from the first layer to the last, channels last.

Shift and adder layers become the contract's QLinearShiftConv and QLinearAdderConv. A sum becomes
our QLinearAdd; products and poolings become ONNX Runtime's QLinear operators; a concatenation
copies codes. A node that stays in float stands between a DequantizeLinear and a QuantizeLinear, in
the float graph's layout.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from calibration.scales import Scale, share_scales
from calibration.table import Table
from calibration.weights import quantize_adder
from export.onnx_export.graph import Array, Editor, attribute, is_custom
from export.operator_table import DOMAIN, OPERATORS
from runtime.core.errors import ModelError
from runtime.core.metadata import PREFIX

_MICROSOFT = "com.microsoft"
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def quantize_model(
    model: onnx.ModelProto, table: Table, keep_float: Collection[str] = ()
) -> onnx.ModelProto:
    """The model with uint8 activations, whose scales are those of the table.

    Args:
        model: exported for the target jetson-nano.
        keep_float: names of nodes that go on computing in float.

    Raises ModelError for a name in `keep_float` that no node has, for a weight that is no
    initializer, and for a value that the table lacks.
    """
    editor = Editor(model)
    unknown = sorted(set(keep_float) - {node.name for node in editor.nodes})
    if unknown:
        raise ModelError(f"no node is named {unknown[0]}, which was to stay in float")
    return _Quantizer(editor, table, keep_float).model()


class _Quantizer:
    """Builds the quantized graph, node by node, in the float graph's order."""

    def __init__(self, editor: Editor, table: Table, keep_float: Collection[str]) -> None:
        self._editor = editor
        self._keep_float = keep_float
        self._shapes = {
            value.name: value.type.tensor_type.shape.SerializeToString()
            for value in [*editor.graph.input, *editor.graph.value_info]
        }
        self._scales = share_scales(editor.nodes, table.ranges, editor.constants)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}
        # These map a value to the name of its codes, channels last, and to the name of its float
        # form, once there is one.
        self._codes: dict[str, str] = {}
        self._floats: dict[str, str] = {value.name: value.name for value in editor.graph.input}

    def model(self) -> onnx.ModelProto:
        for node in self._editor.nodes:
            self._add(node)
        for output in self._editor.graph.output:
            self._float(output.name)
        result = onnx.ModelProto()
        result.CopyFrom(self._editor.model)
        for field in ("node", "initializer", "value_info"):
            result.graph.ClearField(field)
        result.graph.node.extend(self._nodes)
        result.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in self._constants.items()
        )
        result.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
        _describe(result)
        onnx.checker.check_model(result, check_custom_domain=False)
        return result

    def _add(self, node: onnx.NodeProto) -> None:
        quantizer = self._quantizer(node)
        if quantizer is None:
            self._add_float(node)
        else:
            quantizer(node)

    def _quantizer(self, node: onnx.NodeProto) -> Callable[[onnx.NodeProto], None] | None:
        """What quantizes the node; None for one that stays in float."""
        if node.name in self._keep_float:
            return None
        if is_custom(node):
            # The integer ShiftConv has 4-bit codes only (docs/operators.md, section 5).
            return None if attribute(node, "weight_bits", 4) != 4 else self._add_convolution
        computed = [name for name in node.input if name not in self._editor.constants]
        if node.op_type in ("Add", "Mul") and len(computed) == 2:
            return self._add_elementwise
        if node.op_type == "Concat" and attribute(node, "axis") == 1:
            return self._add_concat
        if node.op_type == "GlobalAveragePool":
            return self._add_pool
        return None

    def _add_convolution(self, node: onnx.NodeProto) -> None:
        x, w, scale, bias = node.input
        weight, factor, offset = (self._constant(name) for name in (w, scale, bias))
        if node.op_type == "AdderConv":
            weight, offset = quantize_adder(weight, factor, offset, self._scale(x).grid)
        names = OPERATORS[node.op_type].attribute_names
        attributes = {name: attribute(node, name) for name in names}
        self._emit(
            "QLinear" + node.op_type,
            [
                *self._code_and_scale(x),
                self._keep(w, weight),
                self._keep(scale, factor),
                self._keep(bias, offset),
                *self._scale_inputs(node.output[0]),
            ],
            node,
            DOMAIN,
            layout="NHWC",
            **{name: value for name, value in attributes.items() if value is not None},
        )

    def _add_elementwise(self, node: onnx.NodeProto) -> None:
        inputs = [part for name in node.input for part in self._code_and_scale(name)]
        inputs += self._scale_inputs(node.output[0])
        a, b = (self._shapes.get(name) for name in node.input)
        # Ours rounds alike on every processor, and ONNX Runtime's does not; but ours broadcasts
        # nothing (docs/operators.md, section 6).
        ours = node.op_type == "Add" and a is not None and a == b
        self._emit("QLinear" + node.op_type, inputs, node, DOMAIN if ours else _MICROSOFT)

    def _add_concat(self, node: onnx.NodeProto) -> None:
        self._emit("Concat", [self._code(name) for name in node.input], node, "", axis=3)

    def _add_pool(self, node: onnx.NodeProto) -> None:
        inputs = [*self._code_and_scale(node.input[0]), *self._scale_inputs(node.output[0])]
        self._emit("QLinearGlobalAveragePool", inputs, node, _MICROSOFT, channels_last=1)

    def _add_float(self, node: onnx.NodeProto) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            if name in self._editor.constants:
                copy.input[index] = self._keep(name, self._editor.constants[name])
            elif name:
                copy.input[index] = self._float(name)
        self._nodes.append(copy)
        self._floats.update({name: name for name in node.output})

    def _emit(
        self, op_type: str, inputs: list[str], node: onnx.NodeProto, domain: str, **attributes: Any
    ) -> None:
        """Adds a node in the place of `node`, which makes the codes of its output."""
        value = node.output[0]
        self._codes[value] = f"{value}/codes"
        made = helper.make_node(
            op_type, inputs, [self._codes[value]], node.name, domain=domain, **attributes
        )
        self._nodes.append(made)

    def _code(self, value: str) -> str:
        """The name of the value's codes, channels last; they are made where there are none yet."""
        if value not in self._codes:
            planes, codes = f"{value}/planes", f"{value}/codes"
            inputs = [self._floats[value], *self._scale_inputs(value)]
            self._nodes += [
                helper.make_node("QuantizeLinear", inputs, [planes], f"{value}/quantize"),
                helper.make_node("Transpose", [planes], [codes], f"{value}/to_last", perm=_TO_LAST),
            ]
            self._codes[value] = codes
        return self._codes[value]

    def _float(self, value: str) -> str:
        """The name of the value in float, as in the float graph; it is made where there is none
        yet."""
        if value not in self._floats:
            planes = f"{value}/first"
            inputs = [planes, *self._scale_inputs(value)]
            codes = [self._codes[value]]
            self._nodes += [
                helper.make_node("Transpose", codes, [planes], f"{value}/to_first", perm=_TO_FIRST),
                helper.make_node("DequantizeLinear", inputs, [value], f"{value}/dequantize"),
            ]
            self._floats[value] = value
        return self._floats[value]

    def _code_and_scale(self, value: str) -> list[str]:
        return [self._code(value), *self._scale_inputs(value)]

    def _scale_inputs(self, value: str) -> list[str]:
        scale = self._scale(value)
        return [
            self._keep(f"{scale.name}/scale", np.array(scale.grid.scale, np.float32)),
            self._keep(f"{scale.name}/zero_point", np.array(scale.grid.zero_point, np.uint8)),
        ]

    def _scale(self, value: str) -> Scale:
        if value not in self._scales:
            raise ModelError(f"the calibration table has no range for {value}")
        return self._scales[value]

    def _keep(self, name: str, value: Array) -> str:
        self._constants[name] = value
        return name

    def _constant(self, name: str) -> Array:
        value = self._editor.constant(name)
        if value is None:
            raise ModelError(f"{name} is no initializer: export the model with `make export`")
        return value


def _describe(model: onnx.ModelProto) -> None:
    """Says in the metadata which of the contract's operators the model now has."""
    operators = sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN})
    for entry in model.metadata_props:
        if entry.key == PREFIX + "operators":
            entry.value = json.dumps(operators)

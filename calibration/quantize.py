"""The quantized graph: it computes on integers from the first layer to the last, channels last.

Shift and adder layers become the contract's QLinearShiftConv and QLinearAdderConv. A sum becomes
our QLinearAdd; products and poolings become ONNX Runtime's QLinear operators; a concatenation
copies codes. A node that stays in float stands between a DequantizeLinear and a QuantizeLinear, in
the float graph's layout.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from calibration.integer_form import IntegerForm, rows
from calibration.scales import Scale, share_scales
from calibration.table import Table
from calibration.weights import ZERO_CODE, multipliers, quantize_adder
from export.onnx_export.graph import Array, Editor, attribute, is_custom
from export.operator_table import DOMAIN, OPERATORS
from runtime.core.errors import ModelError
from runtime.core.metadata import PREFIX

_MICROSOFT = "com.microsoft"


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


@dataclass(frozen=True)
class Forms:
    """Which layers of a model are integer.

    Attributes:
        layers: how many nodes have weights.
        in_float: the names of those of them that stay in float, by the reason.
        others: for other nodes that stay in float, how many there are of each type.
    """

    layers: int
    in_float: Mapping[str, Sequence[str]]
    others: Mapping[str, int]


def forms(model: onnx.ModelProto, table: Table, keep_float: Collection[str] = ()) -> Forms:
    """What `quantize_model` makes of each layer, and why."""
    editor = Editor(model)
    scales = share_scales(editor.nodes, table.ranges, editor.constants)
    form = IntegerForm(editor, scales, keep_float)
    layers = 0
    in_float: dict[str, list[str]] = defaultdict(list)
    others: dict[str, int] = defaultdict(int)
    for node in editor.nodes:
        reason = form.why_not(node)
        layers += form.is_layer(node)
        if reason is not None and form.is_layer(node):
            in_float[reason].append(node.name)
        elif reason is not None:
            others[node.op_type] += 1
    return Forms(layers, dict(in_float), dict(others))


class _Quantizer:
    """Builds the quantized graph, node by node, in the float graph's order."""

    def __init__(self, editor: Editor, table: Table, keep_float: Collection[str]) -> None:
        self._editor = editor
        self._scales = share_scales(editor.nodes, table.ranges, editor.constants)
        self._form = IntegerForm(editor, self._scales, keep_float)
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
        if self._form.why_not(node) is not None:
            return None
        if is_custom(node):
            return self._add_convolution
        if self._form.absorber(node) is not None:
            return self._skip
        adders = {
            "Concat": self._add_concat,
            "GlobalAveragePool": self._add_pool,
            "Conv": self._add_multiplying,
            "Gemm": self._add_linear,
            "MatMul": self._add_linear,
        }
        return adders.get(node.op_type, self._add_elementwise)

    def _skip(self, node: onnx.NodeProto) -> None:
        """Its output was made together with the node before it."""

    def _add_convolution(self, node: onnx.NodeProto) -> None:
        x, w, scale, bias = node.input
        weight, factor, offset = (self._constant(name) for name in (w, scale, bias))
        if node.op_type == "AdderConv":
            weight, offset = quantize_adder(weight, factor, offset, self._scale(x).grid)
        names = OPERATORS[node.op_type].attribute_names
        attributes = {name: attribute(node, name) for name in names}
        narrow = self._form.four_bits(node)
        if narrow is not None:
            weight, factor = narrow.words, factor * narrow.factor
            attributes["weight_bits"] = 4
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

    def _add_multiplying(self, node: onnx.NodeProto) -> None:
        names = ("dilations", "group", "kernel_shape", "pads", "strides")
        attributes = {name: attribute(node, name) for name in names}
        inputs = [
            *self._code_and_scale(node.input[0]),
            *self._multipliers(node, self._constant(node.input[1])),
        ]
        self._emit(
            "QLinearConv",
            self._with_output_scale(inputs, self._value(node)),
            node,
            _MICROSOFT,
            channels_last=1,
            **{name: value for name, value in attributes.items() if value is not None},
        )

    def _add_linear(self, node: onnx.NodeProto) -> None:
        """A linear layer as a convolution of one pixel: before ONNX Runtime 1.11 there is no other
        integer one with a bias."""
        weight = rows(node, self._constant(node.input[1]))
        outputs, inputs = weight.shape
        x, *scale = self._code_and_scale(node.input[0])
        value = self._value(node)
        pixel, summed = f"{value}/pixel", f"{value}/summed"
        self._reshape(x, pixel, [-1, 1, 1, inputs])
        given = [pixel, *scale, *self._multipliers(node, weight[:, :, None, None])]
        self._nodes.append(
            helper.make_node(
                "QLinearConv",
                self._with_output_scale(given, value),
                [summed],
                node.name,
                domain=_MICROSOFT,
                channels_last=1,
                kernel_shape=[1, 1],
            )
        )
        self._codes[value] = f"{value}/codes"
        self._reshape(summed, self._codes[value], [-1, outputs])

    def _reshape(self, value: str, made: str, shape: Sequence[int]) -> None:
        name = self._keep(f"{made}/shape", np.array(shape, np.int64))
        self._nodes.append(helper.make_node("Reshape", [value, name], [made], f"{made}/reshape"))

    def _multipliers(self, node: onnx.NodeProto, weight: Array) -> list[str]:
        """The names of codes, scales, zero points and bias, for weights [M, Cg, kH, kW]."""
        no_bias = np.zeros(len(weight), np.float32)
        bias = self._constant(node.input[2]) if len(node.input) > 2 else no_bias
        made = multipliers(weight, bias, self._scale(node.input[0]).grid.scale)
        parts: dict[str, Array] = {
            "codes": made.codes,
            "scale": made.scale,
            "zero_point": np.full(len(weight), ZERO_CODE, np.uint8),
            "bias": made.bias,
        }
        name = node.input[1]
        return [self._keep(f"{name}/{part}", value) for part, value in parts.items()]

    def _with_output_scale(self, inputs: list[str], value: str) -> list[str]:
        """QLinearConv has the bias, the last of `inputs`, behind its output's scale."""
        return [*inputs[:-1], *self._scale_inputs(value), inputs[-1]]

    def _add_elementwise(self, node: onnx.NodeProto) -> None:
        inputs = [part for name in node.input for part in self._code_and_scale(name)]
        inputs += self._scale_inputs(self._value(node))
        a, b = (self._form.shapes[name] for name in node.input)
        # Ours rounds alike on every processor, and ONNX Runtime's does not; but ours broadcasts
        # nothing (docs/operators.md, section 6).
        ours = node.op_type == "Add" and a == b
        self._emit("QLinear" + node.op_type, inputs, node, DOMAIN if ours else _MICROSOFT)

    def _add_concat(self, node: onnx.NodeProto) -> None:
        rank = self._form.rank(node.output[0])
        axis = to_last(rank).index(attribute(node, "axis") % rank)
        self._emit("Concat", [self._code(name) for name in node.input], node, "", axis=axis)

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
        value = self._value(node)
        self._codes[value] = f"{value}/codes"
        made = helper.make_node(
            op_type, inputs, [self._codes[value]], node.name, domain=domain, **attributes
        )
        self._nodes.append(made)

    def _value(self, node: onnx.NodeProto) -> str:
        """What an integer node in the place of `node` makes: its output, or that of its ReLU."""
        value: str = (self._form.absorbed(node) or node).output[0]
        return value

    def _code(self, value: str) -> str:
        """The name of the value's codes, channels last; they are made where there are none yet."""
        if value not in self._codes:
            codes = f"{value}/codes"
            inputs = [self._floats[value], *self._scale_inputs(value)]
            rank = self._form.rank(value)
            planes = f"{value}/planes" if rank > 2 else codes
            self._nodes.append(
                helper.make_node("QuantizeLinear", inputs, [planes], f"{value}/quantize")
            )
            if rank > 2:
                name, order = f"{value}/to_last", to_last(rank)
                self._nodes.append(
                    helper.make_node("Transpose", [planes], [codes], name, perm=order)
                )
            self._codes[value] = codes
        return self._codes[value]

    def _float(self, value: str) -> str:
        """The name of the value in float, as in the float graph; it is made where there is none
        yet."""
        if value not in self._floats:
            codes = self._codes[value]
            rank = self._form.rank(value)
            planes = f"{value}/first" if rank > 2 else codes
            if rank > 2:
                name, order = f"{value}/to_first", to_first(rank)
                self._nodes.append(
                    helper.make_node("Transpose", [codes], [planes], name, perm=order)
                )
            inputs = [planes, *self._scale_inputs(value)]
            self._nodes.append(
                helper.make_node("DequantizeLinear", inputs, [value], f"{value}/dequantize")
            )
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


def to_last(rank: int) -> list[int]:
    """The order of the dimensions that brings channels last; two dimensions stay as they are."""
    return [0, *range(2, rank), 1]


def to_first(rank: int) -> list[int]:
    """The order that undoes `to_last`."""
    return [0, rank - 1, *range(1, rank - 1)]


def _describe(model: onnx.ModelProto) -> None:
    """Says in the metadata which of the contract's operators the model now has."""
    operators = sorted({node.op_type for node in model.graph.node if node.domain == DOMAIN})
    for entry in model.metadata_props:
        if entry.key == PREFIX + "operators":
            entry.value = json.dumps(operators)

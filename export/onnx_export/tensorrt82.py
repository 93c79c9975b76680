"""Refuses a model that the ONNX parser of TensorRT 8.2 does not accept, the last one for the Jetson
Nano.

The facts come from its table of operators and from its sources. It reads opset 13. A node of an
unknown type becomes a plugin, with tensors as inputs and the attributes as fields. INT64 and DOUBLE
are silently narrowed to INT32 and FLOAT.
"""

from __future__ import annotations

import re
from typing import NoReturn

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from export.onnx_export.graph import Array, Editor, attribute, is_custom

OPSET = 13
NEWEST_IR = 7
"""The parser does not look at the IR version. 7 is the version of opset 13's time, before local
functions."""

_INT32 = np.iinfo(np.int32)
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
_OPERATORS: dict[str, frozenset[int]] = {
    name: frozenset(types)
    for names, types in (
        (
            "Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization Ceil Celu Cos Cosh "
            "CumSum Dropout Einsum Erf Exp Floor GRU ImageScaler InstanceNormalization LRN LSTM "
            "Log LogSoftmax LpNormalization MatMul NonMaxSuppression Pow QuantizeLinear RNN "
            "RandomUniform RandomUniformLike ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
            "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Resize "
            "ReverseSequence Sin Sinh Softmax Sqrt Tan TopK Upsample",
            _FLOATS,
        ),
        (
            "Clip Conv ConvTranspose Elu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool "
            "HardSigmoid LeakyRelu LpPool MaxPool PRelu ParametricSoftplus Relu Round ScaledTanh "
            "Selu Sigmoid Softplus Softsign Tanh ThresholdedRelu",
            _FLOATS | {TensorProto.INT8},
        ),
        (
            "Abs Add DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean "
            "Min Mul Neg Range SpaceToDepth Sub Sum",
            _FLOATS | {TensorProto.INT32},
        ),
        (
            "AveragePool Gather GatherElements GatherND Pad Scatter ScatterElements ScatterND Sign",
            _FLOATS | {TensorProto.INT8, TensorProto.INT32},
        ),
        (
            "Expand EyeLike Flatten Split Tile Where",
            _FLOATS | {TensorProto.INT32, TensorProto.BOOL},
        ),
        (
            "Cast Concat Constant Identity Reshape Shape Size Slice Squeeze Transpose Unsqueeze",
            _FLOATS | {TensorProto.INT8, TensorProto.INT32, TensorProto.BOOL},
        ),
        ("And Not Or", {TensorProto.BOOL}),
        ("DequantizeLinear", {TensorProto.INT8}),
        ("ConstantOfShape", {TensorProto.FLOAT}),
    )
    for name in names.split()
}
"""The standard operators of the table and the types of their data. Those with subgraphs, which the
table has too (If, Loop, Scan), are not here."""

_MAKERS = ("Constant", "ConstantOfShape", "RandomUniform")
"""Operators that read no data: for these the types in the table are those of their outputs."""

_CONSTANT_INPUTS = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "CumSum": (1,),
    "InstanceNormalization": (1, 2),
    "NonMaxSuppression": (2, 3, 4),
    "Slice": (3,),
    "Squeeze": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""Inputs that must be initializers, by their index."""

_SPATIAL = ("AveragePool", "Conv", "ConvTranspose", "MaxPool")
"""Operators that only take images or volumes, of 4 or 5 dimensions."""

_MODES = {
    "mode": ("nearest", "linear"),
    "coordinate_transformation_mode": (
        "half_pixel",
        "pytorch_half_pixel",
        "tf_half_pixel_for_nn",
        "asymmetric",
        "align_corners",
    ),
}
"""What Resize can do."""

_MAY_LACK_INPUTS = ("Clip", "Resize")
"""Operators whose importers check whether an optional input is there before they read it."""

_CLAMPED = {"Slice": (1, 2)}
"""Inputs, by their index, in which a huge value means "up to the end" and means the same once it is
narrowed."""

_CONSTANTS = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.BOOL,
)
_PLUGIN_CONSTANTS = (TensorProto.FLOAT, TensorProto.INT32)
_FIELDS = (AttributeProto.INT, AttributeProto.INTS, AttributeProto.STRING)
_MOST_DIMENSIONS = 8


def check_model(model: onnx.ModelProto) -> None:
    """Raises ValueError naming the node or value and the rule for the first breach.

    It reads value_info, so it has to run after shape inference. check.check_model checks the
    contract.
    """
    _check_versions(model)
    editor = Editor(model)
    values = {
        value.name: value.type.tensor_type
        for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]
    }
    inputs = [value.name for value in model.graph.input]
    batch = {dim.dim_param for name in inputs for dim in values[name].shape.dim[:1]} - {""}
    for name, value in values.items():
        _check_shape(name, value, batch if name not in inputs else set())
    for tensor in model.graph.initializer:
        _check_constant(editor, tensor)
    types = {name: value.elem_type for name, value in values.items()}
    types.update({tensor.name: tensor.data_type for tensor in model.graph.initializer})
    ranks = {name: len(value.shape.dim) for name, value in values.items()}
    for node in editor.nodes:
        _check_inputs(node)
        if is_custom(node):
            _check_plugin(node, editor, types)
        else:
            _check_operator(node, types)
            _check_restrictions(node, editor, ranks)


def _check_versions(model: onnx.ModelProto) -> None:
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if opsets != [OPSET]:
        _refuse("the file", f"its opset is {opsets}, not {OPSET}")
    if model.ir_version > NEWEST_IR:
        _refuse("the file", f"its IR version is {model.ir_version}, above {NEWEST_IR}")
    if model.functions:
        _refuse(f"function {model.functions[0].name}", "local functions are not read")


def _check_shape(name: str, value: onnx.TypeProto.Tensor, batch: set[str]) -> None:
    """Every extent is a number, but for the first and for what is made of the batch ("2*N")."""
    if not value.HasField("shape"):
        _refuse(f"value {name}", "it has no shape")
    dims = value.shape.dim
    if len(dims) > _MOST_DIMENSIONS:
        _refuse(f"value {name}", f"it has {len(dims)} dimensions, above {_MOST_DIMENSIONS}")
    for axis, dim in enumerate(dims):
        of_batch = not batch.isdisjoint(re.split("[*+-]", dim.dim_param))
        if axis > 0 and not dim.HasField("dim_value") and not of_batch:
            _refuse(f"value {name}", f"its extent at axis {axis} is not a number")


def _check_constant(editor: Editor, tensor: onnx.TensorProto) -> None:
    title = f"initializer {tensor.name}"
    if tensor.data_type not in _CONSTANTS:
        _refuse(title, f"its type is {_type_name(tensor.data_type)}")
    if tensor.data_type != TensorProto.INT64:
        return
    values = numpy_helper.to_array(tensor)
    beyond = values[(values < _INT32.min) | (values > _INT32.max)]
    if beyond.size and not _is_clamped(editor, tensor.name):
        _refuse(title, f"its value {beyond[0]} does not fit 32 bits")


def _is_clamped(editor: Editor, name: str) -> bool:
    return all(
        index in _CLAMPED.get(node.op_type, ())
        for node in editor.readers(name)
        for index, given in enumerate(node.input)
        if given == name
    )


def _check_inputs(node: onnx.NodeProto) -> None:
    if not all(node.input) and node.op_type not in _MAY_LACK_INPUTS:
        _refuse(_title(node), f"its input {list(node.input).index('')} is left out")
    for entry in node.attribute:
        if entry.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            _refuse(_title(node), f"its attribute {entry.name} is a subgraph")


def _check_plugin(node: onnx.NodeProto, editor: Editor, types: dict[str, int]) -> None:
    for entry in node.attribute:
        if entry.type not in _FIELDS:
            kind = AttributeProto.AttributeType.Name(entry.type)
            _refuse(_title(node), f"its attribute {entry.name} is of type {kind}")
        if any(not _INT32.min <= value <= _INT32.max for value in (entry.i, *entry.ints)):
            _refuse(_title(node), f"its attribute {entry.name} does not fit 32 bits")
    for index, name in enumerate(node.input):
        if index > 0 and editor.constant(name) is None:
            _refuse(_title(node), f"its input {index} is not an initializer")
        allowed = _PLUGIN_CONSTANTS if index else tuple(_FLOATS)
        if types.get(name) not in allowed:
            _refuse(_title(node), f"the type of its input {index} is {_type_name(types.get(name))}")


def _check_operator(node: onnx.NodeProto, types: dict[str, int]) -> None:
    if node.domain not in ("", "ai.onnx"):
        _refuse(_title(node), f"the domain {node.domain} has no plugin of that name")
    if node.op_type not in _OPERATORS:
        _refuse(_title(node), "it has no such operator")
    data = node.output[0] if node.op_type in _MAKERS else node.input[0]
    kind = TensorProto.INT32 if types.get(data) == TensorProto.INT64 else types.get(data)
    if kind not in _OPERATORS[node.op_type]:
        _refuse(_title(node), f"its data is of type {_type_name(types.get(data))}")


def _check_restrictions(node: onnx.NodeProto, editor: Editor, ranks: dict[str, int]) -> None:
    for index in _CONSTANT_INPUTS.get(node.op_type, ()):
        if index < len(node.input) and editor.constant(node.input[index]) is None:
            _refuse(_title(node), f"its input {index} is not an initializer")
    if node.op_type in _SPATIAL and ranks.get(node.input[0]) not in (4, 5):
        _refuse(_title(node), f"its data has {ranks.get(node.input[0])} dimensions, not 4 or 5")
    if node.op_type == "MaxPool" and len(node.output) > 1:
        _refuse(_title(node), "it returns indices")
    if node.op_type == "Resize":
        _check_resize(node)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
        _check_zero_point(node, editor.constant(node.input[2]))


def _check_resize(node: onnx.NodeProto) -> None:
    for name, known in _MODES.items():
        value = attribute(node, name, known[0])
        if value not in known:
            _refuse(_title(node), f"its {name} is {value}")


def _check_zero_point(node: onnx.NodeProto, value: Array | None) -> None:
    if value is None or value.any():
        _refuse(_title(node), "its zero point is not a constant 0")


def _type_name(kind: int | None) -> str:
    return "unknown" if not kind else str(TensorProto.DataType.Name(kind))


def _title(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]}"


def _refuse(what: str, reason: str) -> NoReturn:
    raise ValueError(f"TensorRT 8.2 does not take {what}: {reason}")

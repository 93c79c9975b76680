"""One-node models of the operators and their float64 reference, for the tests of the library.

Needs NumPy and onnx only, and no other part of the project, so that a fault there hides nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = Path(
    os.environ.get(
        "SHIFTADD_ORT_LIBRARY", str(REPOSITORY / "build" / "plugins" / "libshiftadd_ort.so")
    )
)
TOLERANCE = 2e-6  # the contract's, relative to the norm of |scale| * sum|terms| + |bias|

Array = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A convolution; sizes as in ONNX Conv. `weight_bits` is 0 for AdderConv."""

    operator: str = "ShiftConv"
    batch: int = 1
    channels: int = 8
    height: int = 9
    width: int = 11
    out_channels: int = 8
    kernel_shape: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilations: tuple[int, int] = (1, 1)
    group: int = 1
    weight_bits: int = 4
    activation: str = "none"

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.channels, self.height, self.width)

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        return (self.out_channels, self.channels // self.group, *self.kernel_shape)


@dataclass
class Tensors:
    """Inputs of one node; `w` is the real weight, which ShiftConv's packing stores exactly."""

    x: Array
    w: Array
    scale: Array
    bias: Array
    codes: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))


def draw(case: Case, rng: np.random.Generator) -> Tensors:
    """Fresh inputs, none of them constant: X, scale and bias are normal, weights of the operator's
    own kind (all the codes of 4 bits; of 8 bits those down to 2^-12)."""
    x = rng.standard_normal(case.x_shape, dtype=np.float32)
    scale = rng.standard_normal(case.out_channels, dtype=np.float32)
    bias = rng.standard_normal(case.out_channels, dtype=np.float32)
    if case.operator == "AdderConv":
        return Tensors(x, rng.standard_normal(case.w_shape, dtype=np.float32), scale, bias)
    k = rng.integers(0, 8 if case.weight_bits == 4 else 14, case.w_shape).astype(np.uint32)
    sign = rng.integers(0, 2, case.w_shape).astype(np.uint32) * (k > 0)
    magnitude = np.where(k > 0, np.exp2(1.0 - k), 0.0)
    w = np.where(sign == 1, -magnitude, magnitude).astype(np.float32)
    codes = (sign << (case.weight_bits - 1) | k).astype(np.uint32)
    return Tensors(x, w, scale, bias, codes)


def pack(codes: npt.NDArray[np.uint32], weight_bits: int) -> npt.NDArray[np.int32]:
    """Packs codes [M, ...] to int32 rows [M, ceil(K*weight_bits/32)], lowest bits first."""
    rows = codes.reshape(codes.shape[0], -1).astype(np.uint64)
    per_word = 32 // weight_bits
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % per_word)))
    rows = rows.reshape(rows.shape[0], -1, per_word)
    shifts = np.arange(per_word, dtype=np.uint64) * np.uint64(weight_bits)
    return (rows << shifts).sum(axis=2).astype(np.uint32).view(np.int32)


def reference(case: Case, tensors: Tensors) -> tuple[Array64, Array64]:
    """Output in float64, and |scale| * sum|terms| + |bias|, which the tolerance is relative to."""
    top, left, bottom, right = case.pads
    x = np.pad(tensors.x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    (kh, kw), (sh, sw), (dh, dw) = case.kernel_shape, case.strides, case.dilations
    out_h = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    out_w = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    total = np.zeros((case.batch, case.out_channels, out_h, out_w))
    size = np.zeros_like(total)
    group_channels = case.channels // case.group
    group_rows = case.out_channels // case.group
    for m in range(case.out_channels):
        first = m // group_rows * group_channels
        for c, i, j in np.ndindex(group_channels, kh, kw):
            rows = slice(i * dh, i * dh + (out_h - 1) * sh + 1, sh)
            columns = slice(j * dw, j * dw + (out_w - 1) * sw + 1, sw)
            value, weight = x[:, first + c, rows, columns], float(tensors.w[m, c, i, j])
            term = value * weight if case.operator == "ShiftConv" else -np.abs(value - weight)
            total[:, m] += term
            size[:, m] += np.abs(term)
    scale, bias = (v.astype(np.float64)[:, None, None] for v in (tensors.scale, tensors.bias))
    return activate(total * scale + bias, case.activation), size * np.abs(scale) + np.abs(bias)


def activate(v: Array64, activation: str) -> Array64:
    """The contract's activations in float64."""
    if activation == "relu":
        return np.maximum(v, 0)
    if activation == "relu6":
        return np.clip(v, 0, 6)
    if activation == "hardswish":
        return v * np.clip(v + 3, 0, 6) / 6
    return v


def relative_error(got: npt.NDArray[np.float32], expected: Array64, size: Array64) -> float:
    """||got - expected|| / ||size||; infinite for NaN, so that a hole never passes."""
    if expected.size == 0:
        return 0.0 if got.shape == expected.shape else float("inf")
    error = float(np.linalg.norm(got.astype(np.float64) - expected) / np.linalg.norm(size))
    return error if np.isfinite(error) else float("inf")


def attributes_of(case: Case) -> dict[str, object]:
    """All the attributes that a node of this case carries."""
    attributes: dict[str, object] = {
        "kernel_shape": list(case.kernel_shape),
        "strides": list(case.strides),
        "pads": list(case.pads),
        "dilations": list(case.dilations),
        "group": case.group,
        "activation": case.activation,
    }
    if case.operator == "ShiftConv":
        attributes["weight_bits"] = case.weight_bits
    return attributes


def make_model(
    operator: str,
    attributes: dict[str, object],
    x_shape: Sequence[int | str | None] | None,
    initializers: dict[str, npt.NDArray[np.generic]],
    computed: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model of the one node `the_node`, at the opset and IR version of the Jetson Nano.

    x_shape: None leaves even the rank open. Names in `computed` become graph inputs.
    """
    node = helper.make_node(
        operator, ["X", "W", "scale", "bias"], ["Y"], name="the_node", domain="shiftadd"
    )
    for name, value in attributes.items():
        attribute = helper.make_attribute(name, value, attr_type=_empty_list_type(value))
        node.attribute.append(attribute)
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, x_shape)]
    for name in computed:
        value = initializers[name]
        element = helper.np_dtype_to_tensor_dtype(value.dtype)
        inputs.append(helper.make_tensor_value_info(name, element, [None] * value.ndim))
    graph = helper.make_graph(
        [node],
        "one_node",
        inputs,
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, n) for n, v in initializers.items() if n not in computed],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("shiftadd", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=7)


def _empty_list_type(value: object) -> int | None:
    return onnx.AttributeProto.INTS if value == [] else None


def initializers_of(case: Case, tensors: Tensors) -> dict[str, npt.NDArray[np.generic]]:
    """W as the operator stores it, scale and bias."""
    shift = case.operator == "ShiftConv"
    w = pack(tensors.codes, case.weight_bits) if shift else tensors.w
    return {"W": w, "scale": tensors.scale, "bias": tensors.bias}


def case_model(case: Case, tensors: Tensors, computed: Sequence[str] = ()) -> onnx.ModelProto:
    """The model of a case: symbolic batch, known channels, height and width."""
    x_shape = ["N", case.channels, case.height, case.width]
    return make_model(
        case.operator, attributes_of(case), x_shape, initializers_of(case, tensors), computed
    )

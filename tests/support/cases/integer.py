"""The integer operators in NumPy, by the steps of docs/operators.md, section 5, and their cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from export.operator_table import ACTIVATIONS, INTEGER_CONVOLUTIONS
from tests.support.cases.activations import stepwise_activation
from tests.support.cases.convolution import pack_codes
from tests.support.cases.plugins import make_model

Codes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

INTEGER_OPERATORS = INTEGER_CONVOLUTIONS


@dataclass(frozen=True)
class IntegerCase:
    """One integer operator with its inputs and attributes, X and Y in NCHW.

    Attributes:
        x: uint8 [N, C, H, W].
        weight: [M, C/group, kH, kW]: of the shift float32, 0 or +-2^-p, of the adder uint8.
        scale, bias: float32 [M].
        pads: top, left, bottom, right; the other pairs are (height, width).
    """

    operator: str
    x: Codes
    x_scale: np.float32
    x_zero_point: np.uint8
    weight: npt.NDArray[Any]
    scale: Float32
    bias: Float32
    y_scale: np.float32
    y_zero_point: np.uint8
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    group: int = 1
    activation: str = "none"

    @property
    def shift(self) -> bool:
        return self.operator == "QLinearShiftConv"

    def attributes(self, layout: str) -> dict[str, Any]:
        """Those of the node."""
        attributes: dict[str, Any] = {
            "kernel_shape": list(self.weight.shape[2:]),
            "strides": list(self.strides),
            "pads": list(self.pads),
            "dilations": list(self.dilations),
            "group": self.group,
            "activation": self.activation,
            "layout": layout,
        }
        return {**attributes, "weight_bits": 4} if self.shift else attributes

    def inputs(self, layout: str) -> dict[str, npt.NDArray[Any]]:
        """Those of the node, in its order."""
        x = self.x if layout == "NCHW" else np.ascontiguousarray(self.x.transpose(0, 2, 3, 1))
        return {
            "X": x,
            "x_scale": np.array(self.x_scale),
            "x_zero_point": np.array(self.x_zero_point),
            "W": pack_codes(self.weight, 4) if self.shift else self.weight,
            "scale": self.scale,
            "bias": self.bias,
            "y_scale": np.array(self.y_scale),
            "y_zero_point": np.array(self.y_zero_point),
        }


def integer_sums(case: IntegerCase) -> Int64:
    """The contract's acc, [N, M, OH, OW]."""
    top, left, bottom, right = case.pads
    x = np.pad(
        case.x.astype(np.int64),
        ((0, 0), (0, 0), (top, bottom), (left, right)),
        constant_values=int(case.x_zero_point),
    )
    weight = (64 * case.weight if case.shift else case.weight).astype(np.int64)
    kernel = weight.shape[2:]
    height, width = (
        (x.shape[2 + i] - case.dilations[i] * (kernel[i] - 1) - 1) // case.strides[i] + 1
        for i in (0, 1)
    )
    outputs = weight.shape[0] // case.group
    channels = weight.shape[1]
    sums = np.zeros((x.shape[0], weight.shape[0], height, width), np.int64)
    for m in range(weight.shape[0]):
        group = m // outputs
        for row, column in np.ndindex(*kernel):
            first_row, first_column = row * case.dilations[0], column * case.dilations[1]
            seen = x[
                :,
                group * channels : (group + 1) * channels,
                first_row : first_row + (height - 1) * case.strides[0] + 1 : case.strides[0],
                first_column : first_column + (width - 1) * case.strides[1] + 1 : case.strides[1],
            ]
            tap = weight[m, :, row, column][None, :, None, None]
            if case.shift:
                sums[:, m] += ((seen - int(case.x_zero_point)) * tap).sum(1)
            else:
                sums[:, m] -= np.abs(seen - tap).sum(1)
    return sums


def evaluate_integer(case: IntegerCase) -> Codes:
    """Y of the case, [N, M, OH, OW], in float32 steps that are each rounded.

    Where an overflow has made a value NaN it is taken for the lower bound of what clamps it.
    """
    unit = np.float64(case.x_scale) / (64.0 if case.shift else 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        multiplier = (case.scale.astype(np.float64) * unit).astype(np.float32)[:, None, None]
        v = integer_sums(case).astype(np.float32) * multiplier + case.bias[:, None, None]
        v = stepwise_activation(case.activation, v) * (np.float32(1) / case.y_scale)
        v = np.rint(v) + np.float32(case.y_zero_point)
        codes: Codes = _clamp(v, 255).astype(np.uint8)
    return codes


def _clamp(v: Float32, high: float) -> Float32:
    clamped: Float32 = np.fmin(np.fmax(v, np.float32(0)), np.float32(high))
    return clamped


def integer_case(
    operator: str,
    x_shape: Sequence[int],
    out_channels: int,
    kernel_shape: tuple[int, int] = (3, 3),
    group: int = 1,
    activation: str | None = None,
    rng: np.random.Generator | None = None,
    **attributes: Any,
) -> IntegerCase:
    """A case with fresh inputs, of `rng` where it is given, so that most of Y's codes occur."""
    rng = rng or np.random.default_rng()
    shape = (out_channels, x_shape[1] // group, *kernel_shape)
    if operator == "QLinearShiftConv":
        magnitude = np.exp2(-rng.integers(0, 7, shape)) * (rng.random(shape) < 0.9)
        weight: npt.NDArray[Any] = magnitude.astype(np.float32) * rng.choice([-1, 1], shape)
        weight = weight.astype(np.float32)
    else:
        weight = rng.integers(0, 256, shape, np.uint8)
    case = IntegerCase(
        operator,
        x=rng.integers(0, 256, tuple(x_shape), np.uint8),
        x_scale=np.float32(rng.uniform(1e-3, 1)),
        x_zero_point=rng.integers(0, 256, dtype=np.uint8),
        weight=weight,
        scale=np.ones(out_channels, np.float32),
        bias=np.zeros(out_channels, np.float32),
        y_scale=np.float32(1),
        y_zero_point=np.uint8(0),
        group=group,
        activation=activation or str(rng.choice(list(ACTIVATIONS))),
        **attributes,
    )
    return spread(case, rng)


def spread(case: IntegerCase, rng: np.random.Generator | None = None) -> IntegerCase:
    """The case with scales and biases that bring each channel's outputs around 0.

    A code that is clamped to the ends hides a wrong sum; so does a step of Y beside which it is
    small.
    """
    rng = rng or np.random.default_rng()
    channels = len(case.scale)
    unit = float(case.x_scale) / (64.0 if case.shift else 1.0)
    sums = integer_sums(case) * unit
    mean = sums.mean((0, 2, 3)) if sums.size else np.zeros(channels)
    deviation = max(float(sums.std((0, 2, 3)).mean()) if sums.size else 0.0, 50 * unit)
    scale = (rng.normal(size=channels) * 3 / deviation).astype(np.float32)
    return replace(
        case,
        scale=scale,
        bias=(-mean * scale + rng.normal(size=channels)).astype(np.float32),
        y_scale=np.float32(rng.uniform(0.05, 0.1)),
        y_zero_point=rng.integers(96, 160, dtype=np.uint8),
    )


def integer_model(
    case: IntegerCase, layout: str, computed: Sequence[str] = ("X",)
) -> onnx.ModelProto:
    """The model of a case, with a symbolic batch."""
    inputs = case.inputs(layout)
    shape = ["N", *inputs["X"].shape[1:]]
    return make_model(case.operator, case.attributes(layout), inputs, computed, shape, np.uint8)

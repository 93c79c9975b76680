"""ShiftConv and AdderConv in float64 NumPy: what every implementation is compared with.

Written from the specification alone (docs/operators.md, sections 1, 2 and 3), as sums over the
positions of the kernel, so that it shares no step (im2col, BLAS, packing) with what it judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.cases.activations import exact_activation

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

FLOAT32_TOLERANCE = 2e-6
"""Largest ||out - reference|| / ||magnitude|| in float32 (docs/operators.md, section 9)."""


@dataclass(frozen=True)
class Case:
    """One operator with its inputs and attributes.

    Attributes:
        operator: "ShiftConv" or "AdderConv".
        x: float32 [N, C, H, W].
        weight: float32 [M, C/group, kH, kW]; of a ShiftConv the decoded weights, 0 or +-2^-p.
        scale, bias: float32 [M].
        pads: top, left, bottom, right; the other pairs are (height, width).
        weight_bits: of a ShiftConv, 4 or 8; 0 for an AdderConv.
        activation: one of the operator table's.
    """

    operator: str
    x: Float32
    weight: Float32
    scale: Float32
    bias: Float32
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    group: int = 1
    weight_bits: int = 0
    activation: str = "none"

    @property
    def kernel_shape(self) -> tuple[int, int]:
        return self.weight.shape[2], self.weight.shape[3]

    def __repr__(self) -> str:
        """Shapes and attributes: what a failing example is about."""
        fields = ("strides", "pads", "dilations", "group", "weight_bits", "activation")
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in fields)
        return f"{self.operator}(x={self.x.shape}, weight={self.weight.shape}, {shown})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Hypothesis prints failing examples by this protocol, else field by field."""
        printer.text(repr(self))


@dataclass(frozen=True)
class Reference:
    """The exact output [N, M, OH, OW] and, element by element, |scale|*sum|terms| + |bias|."""

    output: Float64
    magnitude: Float64


def evaluate(case: Case) -> Reference:
    """The case in float64."""
    top, left, bottom, right = case.pads
    x = np.pad(case.x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    weight = case.weight.astype(np.float64)
    sums, magnitudes = [], []
    for group in range(case.group):
        total, magnitude = _group_sums(
            case,
            np.split(x, case.group, axis=1)[group],
            np.split(weight, case.group, axis=0)[group],
        )
        sums.append(total)
        magnitudes.append(magnitude)
    scale = case.scale.astype(np.float64)[:, None, None]
    bias = case.bias.astype(np.float64)[:, None, None]
    return Reference(
        output=exact_activation(case.activation, np.concatenate(sums, 1) * scale + bias),
        magnitude=np.concatenate(magnitudes, 1) * np.abs(scale) + np.abs(bias),
    )


def _group_sums(case: Case, x: Float64, weight: Float64) -> tuple[Float64, Float64]:
    """Sum of the terms and of their absolute values: padded x [N,Cg,H,W], weight [Mg,Cg,kH,kW]."""
    height, width = (
        (x.shape[2 + axis] - case.dilations[axis] * (case.kernel_shape[axis] - 1) - 1)
        // case.strides[axis]
        + 1
        for axis in (0, 1)
    )
    total = np.zeros((x.shape[0], weight.shape[0], height, width))
    magnitude = np.zeros_like(total)
    for row, column in np.ndindex(case.kernel_shape):
        first_row, first_column = row * case.dilations[0], column * case.dilations[1]
        seen = x[
            :,
            None,
            :,
            first_row : first_row + (height - 1) * case.strides[0] + 1 : case.strides[0],
            first_column : first_column + (width - 1) * case.strides[1] + 1 : case.strides[1],
        ]
        tap = weight[None, :, :, row, column, None, None]
        terms = seen * tap if case.operator == "ShiftConv" else -np.abs(seen - tap)
        total += terms.sum(2)
        magnitude += np.abs(terms).sum(2)
    return total, magnitude


def check(output: npt.NDArray[Any], case: Case, tolerance: float = FLOAT32_TOLERANCE) -> None:
    """AssertionError unless `output` has the case's shape, is written everywhere and is right."""
    expected = evaluate(case)
    assert output.shape == expected.output.shape
    assert np.isfinite(output).all(), f"{np.isnan(output).sum()} of {output.size} not written"
    error = float(np.linalg.norm(output.astype(np.float64) - expected.output))
    magnitude = float(np.linalg.norm(expected.magnitude))
    assert error <= tolerance * magnitude, f"error {error / magnitude:.2e} of the magnitude"

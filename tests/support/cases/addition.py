"""QLinearAdd in NumPy, by the steps of docs/operators.md, section 6, and cases for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from tests.support.cases.integer import Codes
from tests.support.cases.plugins import make_model


@dataclass(frozen=True)
class AdditionCase:
    """A sum of two tensors of codes; scales are float32, zero points uint8."""

    a: Codes
    a_scale: np.float32
    a_zero_point: np.uint8
    b: Codes
    b_scale: np.float32
    b_zero_point: np.uint8
    y_scale: np.float32
    y_zero_point: np.uint8

    def inputs(self) -> dict[str, npt.NDArray[Any]]:
        """Those of the node, in its order."""
        return {
            "A": self.a,
            "a_scale": np.array(self.a_scale),
            "a_zero_point": np.array(self.a_zero_point),
            "B": self.b,
            "b_scale": np.array(self.b_scale),
            "b_zero_point": np.array(self.b_zero_point),
            "y_scale": np.array(self.y_scale),
            "y_zero_point": np.array(self.y_zero_point),
        }

    def model(self, computed: Sequence[str] = ("A", "B")) -> onnx.ModelProto:
        return make_model("QLinearAdd", {}, self.inputs(), computed, y_type=np.uint8)


def evaluate_addition(case: AdditionCase) -> Codes:
    """Y, in float32 steps that are each rounded; NaN, which only overflow makes, is the code 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        terms = [
            (codes.astype(np.float32) - np.float32(zero))
            * np.float32(np.float64(scale) / np.float64(case.y_scale))
            for codes, scale, zero in (
                (case.a, case.a_scale, case.a_zero_point),
                (case.b, case.b_scale, case.b_zero_point),
            )
        ]
        v = np.rint(terms[0] + terms[1]) + np.float32(case.y_zero_point)
    codes: Codes = np.fmin(np.fmax(v, np.float32(0)), np.float32(255)).astype(np.uint8)
    return codes


def addition_case(shape: Sequence[int], rng: np.random.Generator | None = None) -> AdditionCase:
    """A case with fresh inputs, of `rng` where it is given; few sums lie beyond Y's codes."""
    rng = rng or np.random.default_rng()
    a, b = (rng.integers(0, 256, tuple(shape), np.uint8) for _ in range(2))
    a_scale, b_scale = (np.float32(rng.uniform(0.01, 1)) for _ in range(2))
    a_zero, b_zero = (rng.integers(0, 256, dtype=np.uint8) for _ in range(2))
    middle = (127.5 - float(a_zero)) * float(a_scale) + (127.5 - float(b_zero)) * float(b_scale)
    y_scale = np.float32(0.6 * max(a_scale, b_scale))
    y_zero = np.uint8(np.clip(127.5 - middle / float(y_scale), 0, 255))
    return AdditionCase(a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)

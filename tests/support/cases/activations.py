"""The activations (docs/operators.md, section 1.3) in NumPy, and as nodes of standard operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


def exact_activation(name: str, v: Float64) -> Float64:
    """In float64."""
    functions: dict[str, Callable[[Float64], Float64]] = {
        "none": lambda v: v,
        "relu": lambda v: np.maximum(v, 0.0),
        "relu6": lambda v: np.clip(v, 0.0, 6.0),
        "hardswish": lambda v: v * np.clip(v + 3.0, 0.0, 6.0) / 6.0,
    }
    return functions[name](v)


def stepwise_activation(name: str, v: Float32) -> Float32:
    """In the float32 steps of the integer operators; NaN becomes the bound that it is held to."""
    zero, six = np.float32(0), np.float32(6)

    def hardswish(v: Float32) -> Float32:
        gate = np.fmin(np.fmax(v + np.float32(3), zero), six)
        activated: Float32 = v * (gate * (np.float32(1) / six))
        return activated

    functions: dict[str, Callable[[Float32], Float32]] = {
        "none": lambda v: v,
        "relu": lambda v: np.fmax(v, zero),
        "relu6": lambda v: np.fmin(np.fmax(v, zero), six),
        "hardswish": hardswish,
    }
    return functions[name](v)


def activation_nodes(name: str, constants: dict[str, npt.NDArray[Any]]) -> list[onnx.NodeProto]:
    """Standard operators of opset 13 from "sums" to "Y"; adds the constants that they need."""
    node = helper.make_node
    constants |= {key: np.array(value, np.float32) for key, value in _CONSTANTS.items()}
    nodes = {
        "none": [node("Identity", ["sums"], ["Y"])],
        "relu": [node("Relu", ["sums"], ["Y"])],
        "relu6": [node("Clip", ["sums", "zero", "six"], ["Y"])],
        "hardswish": [
            node("Add", ["sums", "three"], ["moved"]),
            node("Clip", ["moved", "zero", "six"], ["gate"]),
            node("Mul", ["sums", "gate"], ["product"]),
            node("Div", ["product", "six"], ["Y"]),
        ],
    }
    return nodes[name]


_CONSTANTS = {"zero": 0.0, "three": 3.0, "six": 6.0}

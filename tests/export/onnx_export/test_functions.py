"""The function bodies: every geometry of the contract, without the operator library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from export.onnx_export import codec, functions, shapes
from tests.support.models.exported import Array, run_onnxruntime, run_reference_evaluator

BOUND = 2e-6
"""For float32, of the norm of the sum of magnitudes (docs/operators.md, section 9)."""


@dataclass
class Layer:
    """One node's attributes, inputs, and the float64 answer with its sum of magnitudes."""

    operator: str
    fields: dict[str, Any]
    x: Array
    weights: Array
    scale: Array
    bias: Array

    def model(self) -> onnx.ModelProto:
        packed = self.weights
        if self.operator == "ShiftConv":
            packed = codec.pack(self.weights, self.fields["weight_bits"])
        constants = {"W": packed, "scale": self.scale, "bias": self.bias}
        node = helper.make_node(
            self.operator, ["input", *constants], ["logits"], "layer", domain="shiftadd",
            activation="none", **self.fields,
        )  # fmt: skip
        graph = helper.make_graph(
            [node],
            "layer",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *self.x.shape[1:]])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        imports = [helper.make_opsetid("", 13), helper.make_opsetid("shiftadd", 1)]
        model = shapes.infer(helper.make_model(graph, opset_imports=imports, ir_version=7))
        return functions.add_bodies(model)

    def expected(self) -> tuple[Array, Array]:
        """The output, and |scale| * sum |terms| + |bias|, in float64."""
        x = torch.from_numpy(self.x).double()
        w = torch.from_numpy(self.weights).double()
        sums = self._shift(x, w) if self.operator == "ShiftConv" else self._adder(x, w)
        scale, bias = (v.astype(np.float64)[:, None, None] for v in (self.scale, self.bias))
        return sums[0] * scale + bias, sums[1] * np.abs(scale) + np.abs(bias)

    def _shift(self, x: torch.Tensor, w: torch.Tensor) -> tuple[Array, Array]:
        strides, dilations, group = (self.fields[k] for k in ("strides", "dilations", "group"))
        padded = self._pad(x)
        plain, magnitudes = (
            F.conv2d(a, b, None, strides, 0, dilations, group).numpy()
            for a, b in ((padded, w), (padded.abs(), w.abs()))
        )
        return plain, magnitudes

    def _adder(self, x: torch.Tensor, w: torch.Tensor) -> tuple[Array, Array]:
        strides, dilations, group = (self.fields[k] for k in ("strides", "dilations", "group"))
        padded = self._pad(x)
        reach = [d * (k - 1) + 1 for d, k in zip(dilations, w.shape[2:], strict=True)]
        height, width = ((padded.shape[2 + i] - reach[i]) // strides[i] + 1 for i in range(2))
        out = np.zeros((len(x), len(w), height, width))
        depth, share = w.shape[1], len(w) // group
        for m, i, j in np.ndindex(out.shape[1:]):
            first, top, left = m // share * depth, i * strides[0], j * strides[1]
            rows = slice(top, top + reach[0], dilations[0])
            columns = slice(left, left + reach[1], dilations[1])
            patch = padded[:, first : first + depth, rows, columns]
            out[:, m, i, j] = -(patch - w[m]).abs().sum((1, 2, 3)).numpy()
        return out, np.abs(out)

    def _pad(self, x: torch.Tensor) -> torch.Tensor:
        top, left, bottom, right = self.fields["pads"]
        return F.pad(x, (left, right, top, bottom))


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    operator = draw(st.sampled_from(["ShiftConv", "AdderConv"]))
    kernel, strides, dilations = (
        [draw(st.integers(1, high)), draw(st.integers(1, high))] for high in (5, 3, 3)
    )
    pads = [draw(st.integers(0, 3)) for _ in range(4)]
    group, depth, share, batch = (draw(st.integers(1, high)) for high in (4, 5, 3, 3))
    least = [
        max(1, d * (k - 1) + 1 - pads[i] - pads[i + 2])
        for i, (k, d) in enumerate(zip(kernel, dilations, strict=True))
    ]
    size = [draw(st.integers(low, low + 6)) for low in least]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    outputs = group * share
    fields: dict[str, Any] = {
        "kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations,
        "group": group,
    }  # fmt: skip
    weights = rng.normal(size=(outputs, depth, *kernel)).astype(np.float32)
    if operator == "ShiftConv":
        bits = draw(st.sampled_from([4, 8]))
        fields["weight_bits"] = bits
        exponents = rng.integers(0, codec.MAX_K[bits], size=weights.shape)
        signs = rng.integers(-1, 2, size=weights.shape)
        weights = (signs * np.ldexp(1.0, -exponents)).astype(np.float32)
    x = rng.normal(size=(batch, group * depth, *size)).astype(np.float32)
    scale, bias = rng.normal(size=(2, outputs)).astype(np.float32)
    return Layer(operator, fields, x, weights, scale, bias)


@settings(max_examples=60)
@given(layers())
def test_bodies_in_onnxruntime(layer: Layer) -> None:
    expected, magnitude = layer.expected()
    out = run_onnxruntime(layer.model(), layer.x)
    assert np.linalg.norm(out - expected) <= BOUND * np.linalg.norm(magnitude)


@settings(max_examples=40)
@given(layers())
def test_bodies_in_the_reference_evaluator(layer: Layer) -> None:
    expected, magnitude = layer.expected()
    out = run_reference_evaluator(layer.model(), layer.x)
    assert np.linalg.norm(out - expected) <= BOUND * np.linalg.norm(magnitude)


def test_every_code_is_decoded() -> None:
    """All 15 and all 63 weights, at every place in a word."""
    for bits in (4, 8):
        powers = np.ldexp(np.float32(1), -np.arange(codec.MAX_K[bits]))
        values = np.concatenate([[0], powers, -powers]).astype(np.float32)
        places = 32 // bits
        weights = np.stack([np.roll(values, shift) for shift in range(places)])[:, :, None, None]
        fields: dict[str, Any] = {
            "kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1],
            "group": 1, "weight_bits": bits,
        }  # fmt: skip
        # One image a channel, that channel alone 1: the output is the weights themselves.
        x = np.eye(len(values), dtype=np.float32)[:, :, None, None]
        ones, zeros = np.ones(places, np.float32), np.zeros(places, np.float32)
        layer = Layer("ShiftConv", fields, x, weights, ones, zeros)
        out = run_onnxruntime(layer.model(), x)[:, :, 0, 0]
        np.testing.assert_array_equal(out, weights[:, :, 0, 0].T)


def test_a_fused_activation_gets_no_body() -> None:
    model = onnx.ModelProto()
    node = helper.make_node(
        "AdderConv", ["x", "W", "scale", "bias"], ["y"], "stem.0", domain="shiftadd",
        activation="relu",
    )  # fmt: skip
    model.graph.node.append(node)
    with pytest.raises(ValueError, match=r"stem\.0: a function body .* none, got relu"):
        functions.add_bodies(model)

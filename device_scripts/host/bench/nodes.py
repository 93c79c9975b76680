"""One-node models: a layer in each of the operators that could carry it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from device_scripts.host.bench.layers import Layer
from export.onnx_export.codec import pack

Array = npt.NDArray[Any]
OPSET, IR_VERSION = 13, 7


def _attributes(layer: Layer, ours: bool) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "kernel_shape": [layer.kernel] * 2,
        "strides": [layer.stride] * 2,
        "pads": [layer.kernel // 2] * 4,
        "dilations": [1, 1],
        "group": layer.group,
    }
    return {**attributes, "activation": "none"} if ours else attributes


def _model(operator: str, layer: Layer, constants: dict[str, Array], **extra: Any) -> bytes:
    ours = "Shift" in operator or "Adder" in operator
    code = operator.startswith("QLinear")
    kind = TensorProto.UINT8 if code else TensorProto.FLOAT
    node = helper.make_node(
        operator,
        ["X", *constants],
        ["Y"],
        domain="shiftadd" if ours else "",
        **_attributes(layer, ours),
        **extra,
    )
    shape = [1, layer.channels, layer.height, layer.width]
    out = [1, layer.out_channels, *layer.out_extent]
    if extra.get("layout") == "NHWC":
        shape, out = ([each[i] for i in (0, 2, 3, 1)] for each in (shape, out))
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("X", kind, shape)],
        [helper.make_tensor_value_info("Y", kind, out)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("shiftadd", 1)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
    serialized: bytes = model.SerializeToString()
    return serialized


def _shape(layer: Layer) -> tuple[int, int, int, int]:
    return layer.out_channels, layer.channels // layer.group, layer.kernel, layer.kernel


def _powers_of_two(layer: Layer, rng: np.random.Generator) -> Array:
    signs = rng.choice(np.array([-1, 1], np.float32), _shape(layer))
    powers: Array = np.exp2(-rng.integers(0, 7, _shape(layer))).astype(np.float32) * signs
    return powers


def _float_constants(layer: Layer, weight: Array) -> dict[str, Array]:
    ones = np.ones(layer.out_channels, np.float32)
    return {"W": weight, "scale": ones, "bias": ones}


def conv(layer: Layer, rng: np.random.Generator) -> bytes:
    """ONNX Runtime's Conv, float32."""
    weight = rng.normal(size=_shape(layer)).astype(np.float32)
    return _model("Conv", layer, {"W": weight, "B": np.ones(layer.out_channels, np.float32)})


def qlinear_conv(layer: Layer, rng: np.random.Generator) -> bytes:
    """ONNX Runtime's QLinearConv, uint8 activations, int8 weights."""
    step = np.array(0.05, np.float32)
    zero = np.array(128, np.uint8)
    weight = rng.integers(-128, 128, _shape(layer), np.int8)
    return _model(
        "QLinearConv",
        layer,
        {
            **{"x_scale": step, "x_zero": zero, "W": weight, "w_scale": step},
            **{"w_zero": np.array(0, np.int8), "y_scale": np.array(5, np.float32), "y_zero": zero},
        },
    )


def shift_conv(layer: Layer, rng: np.random.Generator) -> bytes:
    """Our ShiftConv."""
    constants = _float_constants(layer, pack(_powers_of_two(layer, rng), 4))
    return _model("ShiftConv", layer, constants, weight_bits=4)


def adder_conv(layer: Layer, rng: np.random.Generator) -> bytes:
    """Our AdderConv."""
    weight = rng.normal(size=_shape(layer)).astype(np.float32)
    return _model("AdderConv", layer, _float_constants(layer, weight))


def _integer_constants(layer: Layer, weight: Array) -> dict[str, Array]:
    ones = np.ones(layer.out_channels, np.float32)
    step, zero = np.array(0.05, np.float32), np.array(128, np.uint8)
    return {
        **{"x_scale": step, "x_zero": zero, "W": weight, "scale": ones, "bias": ones},
        **{"y_scale": np.array(1, np.float32), "y_zero": zero},
    }


def qlinear_shift_conv(layer: Layer, rng: np.random.Generator) -> bytes:
    """Our QLinearShiftConv, channels last as inside a quantized graph."""
    constants = _integer_constants(layer, pack(_powers_of_two(layer, rng), 4))
    return _model("QLinearShiftConv", layer, constants, weight_bits=4, layout="NHWC")


def qlinear_adder_conv(layer: Layer, rng: np.random.Generator) -> bytes:
    """Our QLinearAdderConv, channels last as inside a quantized graph."""
    constants = _integer_constants(layer, rng.integers(0, 256, _shape(layer), np.uint8))
    return _model("QLinearAdderConv", layer, constants, layout="NHWC")


OPERATORS: dict[str, Callable[[Layer, np.random.Generator], bytes]] = {
    "Conv": conv,
    "ShiftConv": shift_conv,
    "AdderConv": adder_conv,
    "QLinearConv": qlinear_conv,
    "QLinearShiftConv": qlinear_shift_conv,
    "QLinearAdderConv": qlinear_adder_conv,
}

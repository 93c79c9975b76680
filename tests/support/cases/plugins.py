"""One-node models for the tests of the operator library, and sessions that run them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime  # type: ignore[import-untyped]
from onnx import AttributeProto, helper, numpy_helper

from tests.support.cases.convolution import draw_weight, draw_x, pack_codes
from tests.support.cases.reference import Case, evaluate

REPOSITORY = Path(__file__).resolve().parents[3]
LIBRARY = Path(
    os.environ.get(
        "SHIFTADD_ORT_LIBRARY", str(REPOSITORY / "build" / "plugins" / "libshiftadd_ort.so")
    )
)

Array = npt.NDArray[Any]

# The shapes at which kernels change their course: arguments of random_case and integer_case.
ONE_PIXEL: dict[str, Any] = {"x_shape": (2, 5, 1, 1), "out_channels": 3, "kernel_shape": (1, 1)}
SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}

SHAPES: dict[str, dict[str, Any]] = {
    "no image": {"x_shape": (0, 8, 9, 7), "out_channels": 8},
    "one pixel": ONE_PIXEL,
    "one output pixel of a padded image without rows": {
        "x_shape": (1, 3, 0, 4),
        "out_channels": 5,
        "pads": (1, 1, 2, 0),
    },
    "odd channels": {"x_shape": (2, 5, 13, 11), "out_channels": 7, **SAME},
    "one channel to many": {"x_shape": (1, 1, 9, 9), "out_channels": 19, **SAME},
    "1x1, panels read in place": {
        "x_shape": (2, 16, 12, 16),
        "out_channels": 6,
        "kernel_shape": (1, 1),
    },
    "1x1, packed panels": {"x_shape": (1, 37, 11, 13), "out_channels": 70, "kernel_shape": (1, 1)},
    "1x1 with pads": {
        "x_shape": (1, 4, 1, 21),
        "out_channels": 5,
        "kernel_shape": (1, 1),
        "pads": (0, 0, 0, 3),
    },
    "1x1 with strides": {
        "x_shape": (1, 9, 8, 9),
        "out_channels": 9,
        "kernel_shape": (1, 1),
        "strides": (2, 3),
    },
    "several blocks of the sum": {"x_shape": (1, 130, 7, 7), "out_channels": 21, **SAME},
    "several tasks of channels": {
        "x_shape": (1, 12, 6, 6),
        "out_channels": 261,
        "kernel_shape": (1, 1),
    },
    "dilated, pads on one side": {
        "x_shape": (1, 6, 12, 15),
        "out_channels": 10,
        "dilations": (2, 3),
        "pads": (0, 5, 2, 1),
    },
    "pads beyond the kernel": {"x_shape": (1, 2, 3, 3), "out_channels": 3, "pads": (7, 5, 4, 9)},
    "grouped": {"x_shape": (2, 12, 9, 9), "out_channels": 30, "group": 3, **SAME},
    "depthwise": {"x_shape": (2, 21, 17, 19), "out_channels": 21, "group": 21, **SAME},
    "depthwise 5x5 with strides": {
        "x_shape": (1, 10, 23, 21),
        "out_channels": 10,
        "group": 10,
        "kernel_shape": (5, 5),
        "strides": (2, 3),
        "pads": (2, 0, 1, 3),
        "dilations": (1, 2),
    },
    "depthwise in bands": {"x_shape": (1, 2, 90, 250), "out_channels": 2, "group": 2, **SAME},
    "depthwise, two outputs a channel": {
        "x_shape": (1, 7, 9, 35),
        "out_channels": 14,
        "group": 7,
        **SAME,
    },
    "depthwise, stride above the kernel": {
        "x_shape": (1, 6, 19, 40),
        "out_channels": 6,
        "group": 6,
        "kernel_shape": (2, 2),
        "strides": (3, 5),
    },
    "depthwise with a huge window": {
        "x_shape": (1, 4, 3, 2),
        "out_channels": 4,
        "group": 4,
        "kernel_shape": (1, 2),
        "dilations": (1, 2000),
        "pads": (0, 1000, 0, 1000),
    },
}


def random_case(
    operator: str,
    x_shape: Sequence[int],
    out_channels: int,
    kernel_shape: tuple[int, int] = (3, 3),
    group: int = 1,
    weight_bits: int = 4,
    **attributes: Any,
) -> Case:
    """A case with fresh inputs; the remaining attributes are those of Case."""
    rng = np.random.default_rng()
    bits = weight_bits if operator == "ShiftConv" else 0
    return Case(
        operator=operator,
        x=draw_x(rng, x_shape),
        weight=draw_weight(rng, (out_channels, x_shape[1] // group, *kernel_shape), bits),
        scale=rng.normal(size=out_channels).astype(np.float32),
        bias=rng.normal(size=out_channels).astype(np.float32),
        group=group,
        weight_bits=bits,
        **attributes,
    )


def case_attributes(case: Case) -> dict[str, Any]:
    """All the attributes that the node of a case carries."""
    attributes: dict[str, Any] = {
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


def case_inputs(case: Case) -> dict[str, Array]:
    """X, W as the operator stores it, scale and bias."""
    packed = pack_codes(case.weight, case.weight_bits) if case.weight_bits else case.weight
    return {"X": case.x, "W": packed, "scale": case.scale, "bias": case.bias}


def make_model(
    operator: str,
    attributes: dict[str, Any],
    inputs: dict[str, Array],
    computed: Sequence[str] = ("X",),
    x_shape: Sequence[int | str | None] | None = None,
    y_type: npt.DTypeLike = np.float32,
) -> onnx.ModelProto:
    """A model of one node, named `the_node`, at the opset and IR version of the Jetson Nano.

    `computed` names the inputs that are the graph's; the others are initializers. Without
    `x_shape` not even the rank of X is declared.
    """
    node = helper.make_node(operator, list(inputs), ["Y"], name="the_node", domain="shiftadd")
    for name, value in attributes.items():
        kind = AttributeProto.INTS if value == [] else None
        node.attribute.append(helper.make_attribute(name, value, attr_type=kind))
    shapes: dict[str, Any] = {name: [None] * inputs[name].ndim for name in computed}
    shapes["X"] = x_shape
    graph = helper.make_graph(
        [node],
        "one_node",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(inputs[name].dtype), shapes[name]
            )
            for name in computed
        ],
        [
            helper.make_tensor_value_info(
                "Y", helper.np_dtype_to_tensor_dtype(np.dtype(y_type)), None
            )
        ],
        [numpy_helper.from_array(v, name) for name, v in inputs.items() if name not in computed],
    )
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("shiftadd", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=7)


def case_model(case: Case, computed: Sequence[str] = ("X",)) -> onnx.ModelProto:
    """The model of a case, with a symbolic batch."""
    x_shape = ["N", *case.x.shape[1:]]
    return make_model(case.operator, case_attributes(case), case_inputs(case), computed, x_shape)


def session(model: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session with the library; without log, since the tests are about what it refuses too."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(LIBRARY))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_poisoned(running: onnxruntime.InferenceSession, case: Case) -> Array:
    """Runs a case into an output that was full of NaN."""
    shape = evaluate(case).output.shape
    # On the CPU an OrtValue is a view of the array, which it does not keep alive.
    output = np.full(shape, np.nan, np.float32)
    binding = running.io_binding()
    inputs = case_inputs(case)
    for argument in running.get_inputs():
        binding.bind_cpu_input(argument.name, inputs[argument.name])
    binding.bind_ortvalue_output("Y", onnxruntime.OrtValue.ortvalue_from_numpy(output))
    running.run_with_iobinding(binding)
    return output

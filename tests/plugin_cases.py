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
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.cases import draw_weight, draw_x, pack_codes
from tests.reference import Case, evaluate

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = Path(
    os.environ.get(
        "SHIFTADD_ORT_LIBRARY", str(REPOSITORY / "build" / "plugins" / "libshiftadd_ort.so")
    )
)

Array = npt.NDArray[Any]


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
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
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

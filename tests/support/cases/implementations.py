"""The implementations of the contract that a test machine has: each runs a Case to its output."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime  # type: ignore[import-untyped]
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from export.operator_table import ACTIVATIONS
from export.operators import AdderConv2d, ShiftConv2d
from tests.support.cases.activations import activation_nodes
from tests.support.cases.addition import AdditionCase
from tests.support.cases.contract import AnyCase, expected_codes
from tests.support.cases.convolution import pack_codes
from tests.support.cases.integer import integer_model
from tests.support.cases.reference import Case

Array = npt.NDArray[Any]

OPSET, IR_VERSION = 13, 7


def case_module(case: Case, mode: Literal["q", "ps"] = "q") -> nn.Module:
    """The trainable module with the case's weights; scale, bias and activation are not in it."""
    arguments: dict[str, Any] = {
        "in_channels": case.x.shape[1],
        "out_channels": case.weight.shape[0],
        "kernel_size": case.kernel_shape,
        "stride": case.strides,
        "padding": case.pads,
        "dilation": case.dilations,
        "groups": case.group,
    }
    weight = torch.from_numpy(case.weight)
    if case.operator == "AdderConv":
        module: nn.Module = AdderConv2d(**arguments, eta=None)
        module.load_state_dict({"weight": weight})
        return module
    module = ShiftConv2d(**arguments, mode=mode, bits=6)
    shift = torch.log2(weight.abs().where(weight != 0, torch.ones(())))
    state = {"weight": weight} if mode == "q" else {"shift": shift, "sign": weight.sign()}
    module.load_state_dict(state)
    return module


def run_pytorch(case: Case, mode: Literal["q", "ps"] = "q") -> Array:
    """The trainable module, then scale, bias and activation, in float32."""
    with torch.no_grad():
        sums = case_module(case, mode)(torch.from_numpy(case.x))
        scale, bias = (torch.from_numpy(v).view(-1, 1, 1) for v in (case.scale, case.bias))
        activated: Array = getattr(nn, ACTIVATIONS[case.activation].module)()(
            sums * scale + bias
        ).numpy()
    return activated


def case_model(case: Case, functions: Sequence[onnx.FunctionProto] = ()) -> onnx.ModelProto:
    """The case as a model with the input X and the output Y.

    With function bodies the activation stands behind the node, as it does in a portable file.
    """
    fused = not functions or case.activation == "none"
    attributes: dict[str, Any] = {
        "kernel_shape": case.kernel_shape,
        "strides": case.strides,
        "pads": case.pads,
        "dilations": case.dilations,
        "group": case.group,
        "activation": case.activation if fused else "none",
    }
    weight: Array = case.weight
    if case.operator == "ShiftConv":
        attributes["weight_bits"] = case.weight_bits
        weight = pack_codes(case.weight, case.weight_bits)
    nodes = [
        helper.make_node(
            case.operator,
            ["X", "W", "scale", "bias"],
            ["Y" if fused else "sums"],
            "node",
            domain="shiftadd",
            **attributes,
        )
    ]
    constants = {"W": weight, "scale": case.scale, "bias": case.bias}
    if not fused:
        nodes += activation_nodes(case.activation, constants)
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, case.x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("shiftadd", 1)]
    return helper.make_model(
        graph, opset_imports=imports, ir_version=IR_VERSION, functions=list(functions)
    )


def _session(model: onnx.ModelProto, library: Path | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    # Threads that spin while they wait starve one another on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    if library is not None:
        options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_onnxruntime(
    case: Case, library: Path | None, functions: Sequence[onnx.FunctionProto] = ()
) -> Array:
    """ONNX Runtime with the operator library or, where that is None, with the function bodies.

    The output lies in memory that was filled with NaN before, so that an element which is not
    written shows.
    """
    session = _session(case_model(case, functions), library)
    output = np.full(output_shape(case), np.nan, np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("X", case.x)
    value = onnxruntime.OrtValue.ortvalue_from_numpy(output)
    binding.bind_ortvalue_output("Y", value)
    session.run_with_iobinding(binding)
    # A copy: the array that numpy() gives shares the value's memory and does not keep it alive.
    written: Array = value.numpy().copy()
    return written


def run_library(case: AnyCase, library: Path) -> Array:
    """ONNX Runtime with the operator library: any operator, in each layout that it has."""
    if isinstance(case, Case):
        return run_onnxruntime(case, library)
    if isinstance(case, AdditionCase):
        return _run_codes(case.model(), {"A": case.a, "B": case.b}, expected_codes(case), library)
    expected = expected_codes(case)
    planes = _run_codes(
        integer_model(case, "NCHW"), {"X": case.inputs("NCHW")["X"]}, expected, library
    )
    pixels = _run_codes(
        integer_model(case, "NHWC"),
        {"X": case.inputs("NHWC")["X"]},
        np.ascontiguousarray(expected.transpose(0, 2, 3, 1)),
        library,
    )
    np.testing.assert_array_equal(pixels.transpose(0, 3, 1, 2), planes)
    return planes


def _run_codes(
    model: onnx.ModelProto, feeds: dict[str, Array], expected: Array, library: Path
) -> Array:
    """Y, from memory of which every byte was wrong before."""
    session = _session(model, library)
    output = np.asarray(expected ^ np.uint8(0xFF))
    binding = session.io_binding()
    for name, value in feeds.items():
        binding.bind_cpu_input(name, value)
    value = onnxruntime.OrtValue.ortvalue_from_numpy(output)
    binding.bind_ortvalue_output("Y", value)
    session.run_with_iobinding(binding)
    written: Array = value.numpy().copy()
    return written


def run_onnx_reference(case: Case, functions: Sequence[onnx.FunctionProto]) -> Array:
    """onnx's reference evaluator with the function bodies."""
    outputs: Any = ReferenceEvaluator(case_model(case, functions)).run(None, {"X": case.x})
    output: Array = outputs[0]
    return output


def output_shape(case: Case) -> tuple[int, ...]:
    """[N, M, OH, OW], by torch's own convolution: neither the reference nor the library."""
    top, left, bottom, right = case.pads
    batch, channels, height, width = case.x.shape
    x = torch.empty(batch, channels, height + top + bottom, width + left + right, device="meta")
    weight = torch.empty(case.weight.shape, device="meta")
    out = torch.conv2d(x, weight, None, case.strides, 0, case.dilations, case.group)
    return tuple(out.shape)


class IsolatedLibrary:
    """The operator library in a process of its own, with kernels of one instruction set.

    The library chooses its kernels once a process, and a crash in it fails a test here instead of
    ending the test run. `isa` is a name that SHIFTADD_CPU_ISA takes, or None for the library's own
    choice.
    """

    def __init__(self, library: Path, isa: str | None) -> None:
        self._library = library
        self._isa = isa
        self._pool = self._start()

    def __call__(self, case: AnyCase) -> Array:
        """Raises BrokenProcessPool where the process crashes; the next case has a new one."""
        try:
            return self._pool.submit(run_library, case, self._library).result()
        except BrokenProcessPool:
            self._pool = self._start()
            raise

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_choose_isa, initargs=(self._isa,)
        )

    def close(self) -> None:
        self._pool.shutdown()


def _choose_isa(isa: str | None) -> None:
    os.environ.pop("SHIFTADD_CPU_ISA", None)
    if isa is not None:
        os.environ["SHIFTADD_CPU_ISA"] = isa


def instruction_sets() -> list[str]:
    """The kernels of the library that this processor runs, by their names in SHIFTADD_CPU_ISA."""
    flags = set()
    if platform.machine() in ("aarch64", "arm64"):
        return ["portable", "neon"]
    if platform.machine() == "x86_64" and Path("/proc/cpuinfo").is_file():
        line = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        flags = set(line.group(1).split()) if line else set()
    needs = {"portable": "", "avx2": "avx2 fma", "avx512": "avx2 fma avx512f"}
    return [name for name, needed in needs.items() if flags.issuperset(needed.split())]

"""The library's operators in the installed ONNX Runtime, on every instruction set of this machine.

The wide sweep over cases is the contract test's; here are the shapes at which kernels change their
course, and what only a library in a session can get wrong: threads, weights that are no constants.
"""

from __future__ import annotations

import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.plugin_cases import case_inputs, case_model, random_case, run_poisoned, session
from tests.reference import Case, check

pytestmark = pytest.mark.usefixtures("operator_library")
OPERATORS = ("ShiftConv", "AdderConv")
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


def machine_isas() -> list[str]:
    """The values of SHIFTADD_CPU_ISA that this machine can run."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        flags = set()
    isas = ["portable"]
    if platform.machine() == "x86_64" and {"avx2", "fma"} <= flags:
        isas += ["avx2", "avx512"] if "avx512f" in flags else ["avx2"]
    return isas


@pytest.fixture(params=machine_isas())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Has the kernels that the test creates use one instruction set; its name."""
    name: str = request.param
    monkeypatch.setenv("SHIFTADD_CPU_ISA", name)
    return name


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_float64(operator: str, shape: str, isa: str) -> None:
    case = random_case(operator, **SHAPES[shape])
    check(run_poisoned(session(case_model(case), threads=2), case), case)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "hardswish"])
def test_activations(operator: str, activation: str, isa: str) -> None:
    for group in (1, 9):
        shape = (1, 9, 10, 11)
        case = random_case(operator, shape, 9, group=group, activation=activation, weight_bits=8)
        # An adder's sums are negative: the bias gives its activation two sides to work on.
        terms = case.weight[0].size
        case.bias[:] += 0 if operator == "ShiftConv" else np.abs(case.scale) * terms
        check(run_poisoned(session(case_model(case)), case), case)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("group", [1, 4])
def test_nan_reaches_only_what_it_should(operator: str, group: int, isa: str) -> None:
    case = random_case(operator, (1, 4, 12, 12), 4, group=group, activation="relu", **SAME)
    case.x[0, 1, 5, 6] = np.nan
    output = run_poisoned(session(case_model(case)), case)
    seen = np.zeros(output.shape, bool)
    seen[0, slice(None) if group == 1 else 1, 4:7, 5:8] = True
    np.testing.assert_array_equal(np.isnan(output), seen)


@pytest.mark.parametrize("operator", OPERATORS)
def test_eight_callers_share_one_session(operator: str) -> None:
    cases = [
        random_case(operator, (2, 40, 15, 17), 35, **SAME),
        random_case(operator, (2, 40, 31, 17), 40, group=40, **SAME),
    ]
    for case in cases:
        running = session(case_model(case), threads=2)

        def run(x: Any, running: Any = running) -> Any:
            return running.run(None, {"X": x})[0]

        inputs = [np.random.default_rng().normal(size=case.x.shape) for _ in range(8)]
        batches = [x.astype(np.float32) for x in inputs]
        alone = [run(x) for x in batches]
        with ThreadPoolExecutor(8) as callers:
            together = list(callers.map(run, batches * 6))
        for i, output in enumerate(together):
            np.testing.assert_array_equal(output, alone[i % 8])


@pytest.mark.parametrize("operator", OPERATORS)
def test_any_number_of_threads_gives_the_same_bits(operator: str) -> None:
    case = random_case(operator, (1, 64, 20, 20), 70, **SAME)
    outputs = [run_poisoned(session(case_model(case), threads=n), case) for n in (1, 2, 5)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize("operator", OPERATORS)
def test_weights_that_are_computed(operator: str) -> None:
    shape = (1, 6, 8, 9)
    first, second = (random_case(operator, shape, 10, **SAME) for _ in range(2))
    running = session(case_model(first, computed=("X", "W", "scale", "bias")))
    for case in (first, second, first):
        check(run_poisoned(running, case), case)
    # The same memory with new contents, as an allocator hands it out.
    inputs = case_inputs(first)
    weights = np.array(inputs["W"])
    for case in (first, second):
        weights[...] = case_inputs(case)["W"]
        output = running.run(None, {**case_inputs(case), "W": weights})[0]
        check(output, case)


def test_channels_that_are_known_at_run_only() -> None:
    """One word holds the codes of one to eight channels, so W alone does not tell their number."""
    wide = random_case("ShiftConv", (1, 8, 5, 5), 4, kernel_shape=(1, 1))
    wide.weight[:, 3:] = 0
    narrow = Case(
        "ShiftConv", wide.x[:, :3], wide.weight[:, :3], wide.scale, wide.bias, weight_bits=4
    )
    model = case_model(wide)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    running = session(model)
    for case in (wide, narrow, wide):
        check(running.run(None, {"X": case.x})[0], case)


def test_an_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFTADD_CPU_ISA", "mmx")
    case = random_case("ShiftConv", **ONE_PIXEL)
    with pytest.raises(Exception, match=r"SHIFTADD_CPU_ISA: expected one of .*portable.*got mmx"):
        session(case_model(case))

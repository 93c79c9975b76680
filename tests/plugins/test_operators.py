"""The library's operators in the installed ONNX Runtime, on every instruction set of this machine.

The wide sweep over cases is the contract test's; here are the shapes at which kernels change their
course, and what only a library in a session can get wrong: threads, weights that are no constants.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from export.operator_table import ACTIVATIONS, FLOAT_OPERATORS
from tests.support.cases.plugins import (
    ONE_PIXEL,
    SAME,
    SHAPES,
    case_inputs,
    case_model,
    random_case,
    run_poisoned,
    session,
)
from tests.support.cases.reference import Case, check

pytestmark = pytest.mark.usefixtures("operator_library")


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_float64(operator: str, shape: str, isa: str) -> None:
    case = random_case(operator, **SHAPES[shape])
    check(run_poisoned(session(case_model(case), threads=2), case), case)


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(operator: str, activation: str, isa: str) -> None:
    for group in (1, 9):
        shape = (1, 9, 10, 11)
        case = random_case(operator, shape, 9, group=group, activation=activation, weight_bits=8)
        # An adder's sums are negative: the bias gives its activation two sides to work on.
        terms = case.weight[0].size
        case.bias[:] += 0 if operator == "ShiftConv" else np.abs(case.scale) * terms
        check(run_poisoned(session(case_model(case)), case), case)


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
@pytest.mark.parametrize("group", [1, 4])
def test_nan_reaches_only_what_it_should(operator: str, group: int, isa: str) -> None:
    case = random_case(operator, (1, 4, 12, 12), 4, group=group, activation="relu", **SAME)
    case.x[0, 1, 5, 6] = np.nan
    output = run_poisoned(session(case_model(case)), case)
    seen = np.zeros(output.shape, bool)
    seen[0, slice(None) if group == 1 else 1, 4:7, 5:8] = True
    np.testing.assert_array_equal(np.isnan(output), seen)


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
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


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
def test_any_number_of_threads_gives_the_same_bits(operator: str) -> None:
    case = random_case(operator, (1, 64, 20, 20), 70, **SAME)
    outputs = [run_poisoned(session(case_model(case), threads=n), case) for n in (1, 2, 5)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
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

"""One contract, every implementation: the same cases through all that have the operator.

The operators come from the table. A float operator is compared with the float64 reference, an
integer one byte for byte with its steps in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.onnx_export import functions
from export.operator_table import FLOAT_OPERATORS, OPERATORS
from tests.support.cases import contract, reference
from tests.support.cases.implementations import (
    IsolatedLibrary,
    instruction_sets,
    run_onnx_reference,
    run_onnxruntime,
    run_pytorch,
)
from tests.support.cases.reference import Case

pytestmark = pytest.mark.usefixtures("one_thread")

Run = Callable[[Any], npt.NDArray[Any]]

EXAMPLES = settings(
    # A case takes milliseconds, so more of them than the profile asks for are affordable.
    max_examples=2 * settings().max_examples,
    suppress_health_check=[HealthCheck.too_slow],
)
IMPLEMENTATIONS = {
    "pytorch": FLOAT_OPERATORS,
    "function body": FLOAT_OPERATORS,
    **{f"library, {isa}": tuple(OPERATORS) for isa in instruction_sets()},
}
"""Each with the operators that it has."""

every_implementation = pytest.mark.parametrize(
    ("run", "operator"),
    [(name, operator) for name, operators in IMPLEMENTATIONS.items() for operator in operators],
    indirect=["run"],
)


def run_function_body(case: Case) -> reference.Float32:
    """ONNX Runtime without the operator library."""
    return run_onnxruntime(case, None, [functions.body(case.operator)])


@pytest.fixture(scope="module")
def libraries(operator_library: Path) -> Iterator[Callable[[str], IsolatedLibrary]]:
    """The library by instruction set, each in one process for all tests: a start takes seconds."""
    started: dict[str, IsolatedLibrary] = {}

    def library(isa: str) -> IsolatedLibrary:
        return started.setdefault(isa, IsolatedLibrary(operator_library, isa))

    yield library
    for isolated in started.values():
        isolated.close()


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest) -> Run:
    """One implementation of the contract, under test."""
    kind, _, isa = request.param.partition(", ")
    if kind == "pytorch":
        return run_pytorch
    if kind == "function body":
        return run_function_body
    isolated: Run = request.getfixturevalue("libraries")(isa)
    return isolated


@every_implementation
@EXAMPLES
@given(data=st.data())
def test_any_case(run: Run, operator: str, data: st.DataObject) -> None:
    case = data.draw(contract.cases(operator))
    contract.check(run(case), case)


@every_implementation
@pytest.mark.parametrize("name", contract.LARGER)
def test_larger_case(run: Run, operator: str, name: str) -> None:
    case = contract.larger_case(name, operator, np.random.default_rng())
    contract.check(run(case), case)


@EXAMPLES
@given(case=contract.cases("ShiftConv"))
def test_deepshift_ps_weights(case: Case) -> None:
    contract.check(run_pytorch(case, mode="ps"), case)


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
@settings(EXAMPLES, max_examples=10)
@given(data=st.data())
def test_function_body_in_the_reference_evaluator(operator: str, data: st.DataObject) -> None:
    """A second runtime that knows nothing of the operators, written by others."""
    case = data.draw(contract.cases(operator))
    contract.check(run_onnx_reference(case, [functions.body(operator)]), case)

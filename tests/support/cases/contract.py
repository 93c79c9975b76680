"""Cases of any operator of the table, and what decides whether an implementation is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from export.operator_table import ACTIVATIONS, FLOAT_OPERATORS, INTEGER_CONVOLUTIONS
from tests.support.cases import convolution, reference
from tests.support.cases.addition import AdditionCase, addition_case, evaluate_addition
from tests.support.cases.integer import IntegerCase, evaluate_integer, integer_case
from tests.support.cases.reference import Case

AnyCase = Case | IntegerCase | AdditionCase
LARGER = convolution.LARGER


def cases(operator: str) -> st.SearchStrategy[Any]:
    """Any small case of the operator."""
    if operator in FLOAT_OPERATORS:
        return convolution.cases(operator)
    if operator in INTEGER_CONVOLUTIONS:
        return _integer_cases(operator)
    if operator == "QLinearAdd":
        return _addition_cases()
    raise ValueError(f"there are no cases of {operator} yet: add them here")


@st.composite
def _integer_cases(draw: st.DrawFn, operator: str) -> IntegerCase:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    activation = draw(st.sampled_from(list(ACTIVATIONS)))
    drawn = draw(convolution.geometries())
    return integer_case(operator, activation=activation, rng=rng, **drawn)


@st.composite
def _addition_cases(draw: st.DrawFn) -> AdditionCase:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return addition_case(draw(st.lists(st.integers(0, 9), max_size=5)), rng)


def larger_case(name: str, operator: str, rng: np.random.Generator) -> AnyCase:
    """The case `name` of LARGER: several blocks of every tiling, and long sums."""
    if operator in FLOAT_OPERATORS:
        return convolution.larger_case(name, operator, rng)
    fields = dict(LARGER[name])
    x_shape, weight = fields.pop("x"), fields.pop("weight")
    if operator in INTEGER_CONVOLUTIONS:
        return integer_case(operator, x_shape, weight[0], weight[2:], rng=rng, **fields)
    return addition_case(x_shape, rng)


def expected_codes(case: IntegerCase | AdditionCase) -> npt.NDArray[np.uint8]:
    """Y of an integer operator, byte for byte."""
    return evaluate_integer(case) if isinstance(case, IntegerCase) else evaluate_addition(case)


def check(output: npt.NDArray[Any], case: AnyCase) -> None:
    """AssertionError unless the output is right: within the contract's tolerance, or exact."""
    if isinstance(case, Case):
        reference.check(output, case)
    else:
        np.testing.assert_array_equal(output, expected_codes(case), strict=True)

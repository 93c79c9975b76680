"""The operator table of Python is that of C++, and everything that lists operators follows it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from export.onnx_export import functions
from export.operator_table import (
    ACTIVATIONS,
    CONTRACT_VERSION,
    DOMAIN,
    FLOAT_OPERATORS,
    LARGEST_ATTRIBUTE,
    LAYOUTS,
    OPERATORS,
    Operator,
)
from tests.support.cases.addition import addition_case
from tests.support.cases.integer import integer_case
from tests.support.cases.plugins import case_attributes, case_inputs, random_case
from tests.support.toolchains.cpp_programs import SANITIZED

_ANY_RANK = -1


def as_json(operator: Operator) -> dict[str, Any]:
    """The operator as tests/plugins/cpp/operator_table.cpp prints it."""
    ranks = {entry.rank for entry in operator.inputs}
    return {
        "name": operator.name,
        "inputs": [
            [entry.name, entry.type, _ANY_RANK if entry.rank is None else entry.rank]
            for entry in operator.inputs
        ],
        "output": ["Y", operator.output, _ANY_RANK if None in ranks else 4],
        "attributes": [
            [entry.name, entry.type, entry.length, entry.least, list(entry.choices), entry.absent]
            for entry in operator.attributes
        ],
    }


def test_the_table_of_cpp_is_the_same() -> None:
    printed = json.loads(SANITIZED.output(SANITIZED.build("operator_table")))
    assert printed == {
        "domain": DOMAIN,
        "version": CONTRACT_VERSION,
        "largest_attribute": LARGEST_ATTRIBUTE,
        "activations": list(ACTIVATIONS),
        "layouts": list(LAYOUTS),
        "operators": [as_json(operator) for operator in OPERATORS.values()],
    }


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activations_module_and_function_compute_the_same(name: str) -> None:
    module = getattr(nn, ACTIVATIONS[name].module)()
    function = ACTIVATIONS[name].function
    x = 5 * torch.randn(1000)
    assert torch.equal(module(x), getattr(F, function)(x) if function else x)


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
def test_a_function_body_has_the_operators_inputs_and_attributes(operator: str) -> None:
    body = functions.body(operator)
    assert (body.domain, body.name) == (DOMAIN, operator)
    assert tuple(body.input) == OPERATORS[operator].input_names
    assert tuple(body.attribute) == OPERATORS[operator].attribute_names


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_cases_write_every_input_and_attribute(operator: str) -> None:
    """So that a new one cannot stay untested."""
    inputs, attributes = _case_of(OPERATORS[operator])
    assert list(inputs) == list(OPERATORS[operator].input_names)
    assert set(attributes) == set(OPERATORS[operator].attribute_names)
    for entry in OPERATORS[operator].inputs:
        assert inputs[entry.name].dtype == entry.type
        assert entry.rank in (None, inputs[entry.name].ndim)


def _case_of(operator: Operator) -> tuple[dict[str, Any], dict[str, Any]]:
    if not operator.is_integer:
        case = random_case(operator.name, (1, 2, 5, 5), 3)
        return case_inputs(case), case_attributes(case)
    if operator.attributes:
        integer = integer_case(operator.name, (1, 2, 5, 5), 3)
        return integer.inputs("NHWC"), integer.attributes("NHWC")
    return addition_case((2, 3)).inputs(), {}

"""Nodes that break the contract are refused, most at load, by name, field and both values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from export.operator_table import FLOAT_OPERATORS, OPERATORS
from tests.support.cases.plugins import (
    case_attributes,
    case_inputs,
    case_model,
    make_model,
    random_case,
    session,
)

pytestmark = pytest.mark.usefixtures("operator_library")
_ACTIVATION_CHOICES = OPERATORS["ShiftConv"].attribute("activation").expected


def refusal(operator: str, attributes: dict[str, Any], inputs: dict[str, Any], **model: Any) -> str:
    """Text of the error that loading the model raises."""
    x_shape = model.pop("x_shape", list(inputs["X"].shape))
    with pytest.raises(Exception, match=f"shiftadd.{operator} node 'the_node': ") as raised:
        session(make_model(operator, attributes, inputs, x_shape=x_shape, **model))
    return str(raised.value)


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
@pytest.mark.parametrize(
    ("attribute", "value", "expected", "got"),
    [
        ("kernel_shape", [3], "2 integers", "[3]"),
        ("kernel_shape", [0, 3], "2 integers from 1", "[0, 3]"),
        ("kernel_shape", [], "2 integers", "[]"),
        ("strides", [1, 0], "2 integers from 1", "[1, 0]"),
        ("strides", list(range(1, 101)), "2 integers", "99, 100]"),
        ("pads", [1, 1], "4 integers from 0", "[1, 1]"),
        ("pads", [0, 0, -1, 0], "4 integers from 0", "[0, 0, -1, 0]"),
        ("dilations", [1, 2**40], "2147483647", "[1, 1099511627776]"),
        ("group", 0, "1 to 2147483647", "0"),
        ("group", 3, "a positive multiple of group 3", "8"),
        ("activation", "gelu", _ACTIVATION_CHOICES, "'gelu'"),
        ("activation", "relu" * 30, _ACTIVATION_CHOICES, "relurelu"),
        ("activation", 1, "a string", "no such attribute"),
        ("strides", 2, "2 integers", "[]"),
    ],
)
def test_attributes(operator: str, attribute: str, value: Any, expected: str, got: str) -> None:
    case = random_case(operator, (1, 8, 9, 9), 4)
    text = refusal(operator, {**case_attributes(case), attribute: value}, case_inputs(case))
    field = "channels of X" if value == 3 else attribute
    assert f"{field}: expected" in text
    assert expected in text.partition("expected")[2].partition("got")[0]
    assert got in text.partition("got")[2]


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
def test_missing_attributes(operator: str) -> None:
    case = random_case(operator, (1, 8, 9, 9), 4)
    complete = case_attributes(case)
    for name in complete:
        rest = {key: value for key, value in complete.items() if key != name}
        assert f"{name}: expected" in refusal(operator, rest, case_inputs(case))


@pytest.mark.parametrize("bits", [0, 1, 5, 32, -4])
def test_weight_bits(bits: int) -> None:
    case = random_case("ShiftConv", (1, 8, 9, 9), 4)
    attributes = {**case_attributes(case), "weight_bits": bits}
    assert f"weight_bits: expected 4 or 8, got {bits}" in refusal(
        "ShiftConv", attributes, case_inputs(case)
    )


@pytest.mark.parametrize(
    ("bits", "row", "column", "word", "message"),
    [
        (4, 2, 1, 0x00080000, "W code [2, 12]: expected no sign bit where k = 0"),
        (8, 3, 0, 0x00000080, "W code [3, 0]: expected no sign bit where k = 0"),
        (8, 1, 2, 0x20000000, "W code [1, 11]: expected k <= 31, got k = 32"),
        (4, 0, 3, 0x00001000, "W code [0, 27]: expected 0 in the unused tail, got k = 1"),
    ],
)
def test_codes(bits: int, row: int, column: int, word: int, message: str) -> None:
    # Channels of which the codes end short of a word: 3 * 3 * 3 = 27 of 32 places at 4 bits.
    channels = 3 if "tail" in message else 4
    case = random_case("ShiftConv", (1, channels, 9, 9), 4, weight_bits=bits)
    inputs = case_inputs(case)
    inputs["W"] = inputs["W"].copy()
    inputs["W"][row, column] = word if "tail" not in message else inputs["W"][row, column] | word
    assert message in refusal("ShiftConv", case_attributes(case), inputs)


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
def test_shapes(operator: str) -> None:
    case = random_case(operator, (1, 8, 9, 9), 4)
    attributes, inputs = case_attributes(case), case_inputs(case)

    def with_input(**changed: Any) -> str:
        return refusal(operator, attributes, {**inputs, **changed})

    for name in ("scale", "bias"):
        text = with_input(**{name: np.ones(5, np.float32)})
        assert f"{name} shape: expected [4], got [5]" in text
    assert "scale shape: expected [4], got [4, 1]" in with_input(scale=np.ones((4, 1), np.float32))
    assert "W shape: expected" in with_input(X=np.ones((1, 16, 9, 9), np.float32))
    assert "W rank: expected" in with_input(W=inputs["W"].reshape(-1))
    assert "X rank: expected 4 (N, C, H, W), got 3" in with_input(X=np.ones((8, 9, 9), np.float32))
    small = np.ones((1, 8, 9, 2), np.float32)
    assert "X padded width: expected at least the dilated kernel's 3, got 2" in with_input(X=small)


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
def test_what_only_a_run_shows(operator: str) -> None:
    """Without a declared shape, or without constants, the refusal comes with the first run."""
    case = random_case(operator, (1, 8, 9, 9), 4)
    running = session(make_model(operator, case_attributes(case), case_inputs(case)))
    for x, message in [
        (case.x[:, :5], "W shape: expected"),
        (case.x[:, :, :2], "X padded height: expected at least the dilated kernel's 3, got 2"),
        (case.x[0], "X rank: expected 4"),
    ]:
        with pytest.raises(Exception, match="node 'the_node': ") as raised:
            running.run(None, {"X": x})
        assert message in str(raised.value)
    running.run(None, {"X": case.x})

    computed = session(case_model(case, computed=("X", "W", "scale", "bias")))
    with pytest.raises(Exception, match=r"'the_node': bias shape: expected \[4\], got \[3\]"):
        computed.run(None, {**case_inputs(case), "bias": case.bias[:3]})


@pytest.mark.parametrize("operator", FLOAT_OPERATORS)
def test_sizes_beyond_memory(operator: str) -> None:
    case = random_case(operator, (1, 8, 9, 9), 4, kernel_shape=(1, 1))
    huge = 2**31 - 1
    attributes = {**case_attributes(case), "pads": [huge] * 4}
    inputs = case_inputs(case)
    assert "output size in bytes: expected a product below 2^63" in refusal(
        operator, attributes, inputs
    )
    # Within 2^63 bytes, and still more than any machine has: an error, not a crash.
    attributes["pads"] = [2**25] * 4
    running = session(make_model(operator, attributes, inputs, x_shape=list(case.x.shape)))
    with pytest.raises(Exception, match="the_node"):
        running.run(None, {"X": case.x})

"""The integer operators in ONNX Runtime: bit for bit the contract's, on every instruction set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]
import pytest

from export.operator_table import ACTIVATIONS
from tests.support.cases.integer import (
    INTEGER_OPERATORS,
    IntegerCase,
    evaluate_integer,
    integer_case,
    integer_model,
    integer_sums,
    spread,
)
from tests.support.cases.plugins import SAME, SHAPES, make_model, session

pytestmark = pytest.mark.usefixtures("operator_library")

LAYOUTS = ("NCHW", "NHWC")


def run_integer(case: IntegerCase, layout: str, threads: int = 1) -> npt.NDArray[np.uint8]:
    """Y in NCHW, from memory of which every byte was wrong before."""
    running = session(integer_model(case, layout), threads)
    expected = evaluate_integer(case)
    if layout == "NHWC":
        expected = np.ascontiguousarray(expected.transpose(0, 2, 3, 1))
    output = expected ^ np.uint8(0xFF)
    binding = running.io_binding()
    binding.bind_cpu_input("X", case.inputs(layout)["X"])
    binding.bind_ortvalue_output("Y", onnxruntime.OrtValue.ortvalue_from_numpy(output))
    running.run_with_iobinding(binding)
    return output if layout == "NCHW" else output.transpose(0, 3, 1, 2)


def check_integer(case: IntegerCase, layout: str, threads: int = 1) -> None:
    np.testing.assert_array_equal(run_integer(case, layout, threads), evaluate_integer(case))


# Beside the float kernels' shapes: sums longer than the blocks in which they are taken.
INTEGER_SHAPES: dict[str, dict[str, Any]] = {
    **SHAPES,
    "several blocks of pixels' bytes": {"x_shape": (1, 467, 4, 5), "out_channels": 19, **SAME},
    "several blocks, read in place": {
        "x_shape": (1, 4808, 3, 4),
        "out_channels": 9,
        "kernel_shape": (1, 1),
    },
}


@pytest.mark.parametrize("operator", INTEGER_OPERATORS)
@pytest.mark.parametrize("shape", INTEGER_SHAPES)
def test_bit_exact(operator: str, shape: str, isa: str) -> None:
    for layout in LAYOUTS:
        check_integer(integer_case(operator, **INTEGER_SHAPES[shape]), layout, threads=2)


@pytest.mark.parametrize("operator", INTEGER_OPERATORS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(operator: str, activation: str, isa: str) -> None:
    for group in (1, 24):
        case = integer_case(operator, (1, 24, 9, 11), 48, group=group, activation=activation)
        check_integer(case, "NHWC")


@pytest.mark.parametrize("operator", INTEGER_OPERATORS)
def test_sums_of_the_largest_terms(operator: str, isa: str) -> None:
    """Intermediate lanes of 8 and 16 bits at their limits."""
    case = integer_case(operator, (1, 512, 3, 9), 40, **SAME, activation="none")
    for code, weight in [(0, 1.0), (255, 1.0), (255, -1.0), (0, -1.0)]:
        case.x[...] = code
        case.weight[...] = weight if case.shift else 255 - code
        extreme = spread(case)
        assert len(np.unique(evaluate_integer(extreme))) > 20
        check_integer(extreme, "NHWC")


@pytest.mark.parametrize("operator", INTEGER_OPERATORS)
def test_results_beyond_the_codes(operator: str, isa: str) -> None:
    """Clamped before they become integers; infinities, and NaN that comes of them, too."""
    for activation in ACTIVATIONS:
        case = integer_case(operator, (1, 8, 5, 5), 8, kernel_shape=(1, 1), activation=activation)
        case.scale[:4] = [3e38, -3e38, 1e30, -1e30]
        case.bias[4:] = [3e38, -3e38, 3e9, -3e9]
        # A sum of 0 under a multiplier that is infinite.
        overflowing = replace(case, x_scale=np.float32(100))
        overflowing.x[0, :, 0, 0] = case.x_zero_point
        if not case.shift:
            overflowing.weight[0] = case.x_zero_point
        for each in (case, overflowing):
            check_integer(each, "NHWC")


@pytest.mark.parametrize("operator", INTEGER_OPERATORS)
def test_weights_that_are_computed(operator: str) -> None:
    first, second = (integer_case(operator, (1, 6, 8, 9), 10, activation="none") for _ in range(2))
    running = session(integer_model(first, "NCHW", computed=tuple(first.inputs("NCHW"))))
    for case in (first, second, first):
        output = running.run(None, case.inputs("NCHW"))[0]
        np.testing.assert_array_equal(output, evaluate_integer(case))


def refusal(case: IntegerCase, attributes: dict[str, Any], inputs: dict[str, Any]) -> str:
    """Text of the error that loading the node raises."""
    complete = {**case.inputs("NCHW"), **inputs}
    with pytest.raises(Exception, match=f"shiftadd.{case.operator} node 'the_node': ") as raised:
        session(
            make_model(
                case.operator,
                {**case.attributes("NCHW"), **attributes},
                complete,
                x_shape=list(complete["X"].shape),
                y_type=np.uint8,
            )
        )
    return str(raised.value)


@pytest.mark.parametrize("operator", INTEGER_OPERATORS)
def test_refusals(operator: str) -> None:
    case = integer_case(operator, (1, 8, 9, 9), 4)

    def given(**inputs: Any) -> str:
        return refusal(case, {}, inputs)

    assert "layout: expected NCHW or NHWC, got 'CHWN'" in refusal(case, {"layout": "CHWN"}, {})
    for name in ("x_scale", "y_scale"):
        for value in (0.0, -1.0, np.nan, np.inf):
            text = given(**{name: np.float32(value).reshape(())})
            assert f"{name}: expected a positive, finite number" in text
    assert "y_scale: expected a number with a finite reciprocal" in given(
        y_scale=np.array(1e-39, np.float32)
    )
    for name in ("x_scale", "x_zero_point", "y_scale", "y_zero_point"):
        matrix = np.ones((1, 1), case.inputs("NCHW")[name].dtype)
        assert f"{name} shape: expected [] or [1], got [1, 1]" in given(**{name: matrix})
    for name in ("scale", "bias"):
        values = np.array([1, 2, np.inf, 3], np.float32)
        assert f"{name}[2]: expected a finite number, got inf" in given(**{name: values})
        assert f"{name} shape: expected [4], got [3]" in given(**{name: values[[0, 1, 3]]})


def test_weights_of_8_bits_are_refused() -> None:
    case = integer_case("QLinearShiftConv", (1, 8, 9, 9), 4)
    assert "weight_bits: expected 4, got 8" in refusal(case, {"weight_bits": 8}, {})


@pytest.mark.parametrize(
    ("operator", "most"), [("QLinearShiftConv", 131586), ("QLinearAdderConv", 8421504)]
)
def test_the_longest_sums(operator: str, most: int) -> None:
    """The last that is allowed comes to within one term of 2^31; the next is refused."""
    case = integer_case(operator, (1, most, 1, 1), 1, kernel_shape=(1, 1), activation="none")
    case.x[...] = 255
    case.weight[...] = 1 if case.shift else 0
    longest = spread(replace(case, x_zero_point=np.uint8(0)))
    # Beside so long a sum float32 rounds a bias by many codes: some draws end at the codes' bounds,
    # where a wrong sum could hide.
    while not 0 < int(evaluate_integer(longest)[0, 0, 0, 0]) < 255:
        longest = spread(longest)
    assert abs(int(integer_sums(longest)[0, 0, 0, 0])) > 2**31 - 255 * 64
    check_integer(longest, "NCHW")
    longer = integer_case(operator, (1, most + 1, 1, 1), 1, kernel_shape=(1, 1))
    text = refusal(longer, {}, {})
    assert f"terms of one output: expected at most {most}, got {most + 1}" in text


@pytest.mark.parametrize("operator", INTEGER_OPERATORS)
def test_what_only_a_run_shows(operator: str) -> None:
    """Values and shapes of computed inputs are checked at every run, before they are used."""
    case = integer_case(operator, (1, 8, 9, 9), 4)
    inputs = case.inputs("NCHW")
    running = session(integer_model(case, "NCHW", computed=tuple(inputs)))
    for name, value, message in [
        ("x_scale", np.array(-1, np.float32), "x_scale: expected a positive, finite number"),
        ("y_scale", np.array(np.nan, np.float32), "y_scale: expected a positive, finite number"),
        ("x_zero_point", np.zeros(0, np.uint8), "x_zero_point shape: expected [] or [1], got [0]"),
        ("y_scale", np.zeros(0, np.float32), "y_scale shape: expected [] or [1], got [0]"),
        ("bias", np.full(4, np.inf, np.float32), "bias[0]: expected a finite number, got inf"),
        ("scale", np.ones(3, np.float32), "scale shape: expected [4], got [3]"),
    ]:
        with pytest.raises(Exception, match="node 'the_node': ") as raised:
            running.run(None, {**inputs, name: value})
        assert message in str(raised.value)
    np.testing.assert_array_equal(running.run(None, inputs)[0], evaluate_integer(case))


def test_bad_codes_are_refused() -> None:
    case = integer_case("QLinearShiftConv", (1, 8, 9, 9), 4)
    codes = case.inputs("NCHW")["W"].copy()
    codes[2, 1] = 0x00080000
    assert "W code [2, 12]: expected no sign bit" in refusal(case, {}, {"W": codes})


@pytest.mark.parametrize("operator", INTEGER_OPERATORS)
def test_the_layout_is_nchw_where_nothing_says_so(operator: str) -> None:
    case = integer_case(operator, (1, 8, 9, 7), 4)
    attributes = case.attributes("NCHW")
    del attributes["layout"]
    shape = list(case.x.shape)
    model = make_model(operator, attributes, case.inputs("NCHW"), x_shape=shape, y_type=np.uint8)
    output = session(model).run(None, {"X": case.x})[0]
    np.testing.assert_array_equal(output, evaluate_integer(case))
    assert "layout: expected a string" in refusal(case, {"layout": 1}, {})


@pytest.mark.parametrize("operator", INTEGER_OPERATORS)
def test_extents_that_only_a_run_knows(operator: str) -> None:
    case = integer_case(operator, (1, 8, 9, 7), 12, **SAME)
    model = integer_model(case, "NHWC")
    for axis in model.graph.input[0].type.tensor_type.shape.dim:
        axis.dim_param = "unknown"
    output = session(model).run(None, {"X": case.inputs("NHWC")["X"]})[0]
    np.testing.assert_array_equal(output.transpose(0, 3, 1, 2), evaluate_integer(case))


@pytest.mark.parametrize("operator", INTEGER_OPERATORS)
def test_scalars_of_one_element(operator: str) -> None:
    case = integer_case(operator, (1, 8, 9, 9), 4, activation="relu")
    inputs = {name: v.reshape(1) if v.ndim == 0 else v for name, v in case.inputs("NCHW").items()}
    model = make_model(
        operator, case.attributes("NCHW"), inputs, x_shape=list(case.x.shape), y_type=np.uint8
    )
    output = session(model).run(None, {"X": case.x})[0]
    np.testing.assert_array_equal(output, evaluate_integer(case))

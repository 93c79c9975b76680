"""QLinearAdd bit for bit (docs/operators.md, section 6), on every instruction set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest

from tests.support.cases.addition import AdditionCase, addition_case, evaluate_addition
from tests.support.cases.integer import Codes
from tests.support.cases.plugins import session

pytestmark = pytest.mark.usefixtures("operator_library")

# Whole and broken vectors of every width; one element, none; more than one thread's share.
SHAPES = [(1,), (2, 7, 7, 3), (1, 5, 13, 16), (3, 64), (2, 0, 4), (3, 100, 111, 4), ()]


def run(case: AdditionCase, threads: int = 1) -> Codes:
    """Y, from memory of which every byte was wrong before."""
    running = session(case.model(), threads)
    output = np.asarray(evaluate_addition(case) ^ np.uint8(0xFF))
    binding = running.io_binding()
    binding.bind_cpu_input("A", case.a)
    binding.bind_cpu_input("B", case.b)
    binding.bind_ortvalue_output("Y", onnxruntime.OrtValue.ortvalue_from_numpy(output))
    running.run_with_iobinding(binding)
    return output


def check(case: AdditionCase, threads: int = 1) -> None:
    np.testing.assert_array_equal(run(case, threads), evaluate_addition(case))


@pytest.mark.parametrize("shape", SHAPES)
def test_bit_exact(shape: tuple[int, ...], isa: str) -> None:
    for threads in (1, 2):
        check(addition_case(shape), threads)


def test_every_pair_of_codes(isa: str) -> None:
    """With multipliers of which half the sums are ties, and with any."""
    a, b = (np.ascontiguousarray(codes, np.uint8) for codes in np.mgrid[:256, :256])
    drawn = replace(addition_case((1,)), a=a, b=b)
    assert len(np.unique(evaluate_addition(drawn))) > 100
    check(drawn)
    half = np.float32(0.25)
    check(replace(drawn, a_scale=half, b_scale=half, y_scale=2 * half, y_zero_point=np.uint8(101)))


def test_what_stands_for_nothing_adds_nothing(isa: str) -> None:
    case = addition_case((4, 64))
    case.b[...] = case.b_zero_point
    same = replace(
        case, a_scale=case.y_scale, a_zero_point=case.y_zero_point, b_scale=np.float32(1e30)
    )
    np.testing.assert_array_equal(run(same), same.a)


def test_sums_beyond_the_codes(isa: str) -> None:
    """Clamped before they become integers; infinities, and NaN that comes of them, too."""
    # Zero points in the middle: sums of both signs.
    middle = np.uint8(128)
    case = replace(addition_case((16, 16)), a_zero_point=middle, b_zero_point=middle)
    for scale in (1e9, 1e37, 3e38):
        huge = np.float32(scale)
        wide = replace(case, a_scale=huge, b_scale=huge, y_scale=np.float32(1))
        assert {0, 255} <= set(np.unique(evaluate_addition(wide)))
        check(wide)


def refusal(case: AdditionCase, **inputs: object) -> str:
    """Text of the error that loading the node raises."""
    with pytest.raises(Exception, match=r"shiftadd\.QLinearAdd node 'the_node': ") as raised:
        session(replace(case, **inputs).model())  # type: ignore[arg-type]
    return str(raised.value)


def test_refusals() -> None:
    case = addition_case((2, 3))
    for name in ("a_scale", "b_scale", "y_scale"):
        for value in (0.0, -1.0, np.nan, np.inf):
            text = refusal(case, **{name: np.float32(value)})
            assert f"{name}: expected a positive, finite number" in text
    text = refusal(case, a_scale=np.float32(1e30), y_scale=np.float32(1e-30))
    assert "y_scale: expected a number by which 1e+30 can be divided, got 1e-30" in text
    for name in ("a_scale", "a_zero_point", "b_zero_point", "y_zero_point"):
        matrix = np.ones((1, 1), case.inputs()[name].dtype)
        assert f"{name} shape: expected [] or [1], got [1, 1]" in refusal(case, **{name: matrix})


def test_what_only_a_run_shows() -> None:
    case = addition_case((2, 3))
    inputs = case.inputs()
    running = session(case.model(computed=tuple(inputs)))
    for name, value, message in [
        ("B", np.zeros((3, 2), np.uint8), "B shape: expected [2, 3], got [3, 2]"),
        ("B", np.zeros((1, 3), np.uint8), "B shape: expected [2, 3], got [1, 3]"),
        ("a_scale", np.array(-1, np.float32), "a_scale: expected a positive, finite number"),
        ("y_scale", np.zeros(0, np.float32), "y_scale shape: expected [] or [1], got [0]"),
    ]:
        with pytest.raises(Exception, match="node 'the_node': ") as raised:
            running.run(None, {**inputs, name: value})
        assert message in str(raised.value)
    np.testing.assert_array_equal(running.run(None, inputs)[0], evaluate_addition(case))


def test_scalars_of_one_element() -> None:
    case = addition_case((2, 3))
    inputs = {name: v.reshape(1) if v.ndim == 0 else v for name, v in case.inputs().items()}
    running = session(case.model(computed=tuple(inputs)))
    np.testing.assert_array_equal(running.run(None, inputs)[0], evaluate_addition(case))

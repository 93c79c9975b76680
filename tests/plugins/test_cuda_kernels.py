"""The CUDA kernels without a GPU: built for the host, where fibers or threads stand for a block's
threads, and run through the TensorRT plugins' own enqueue on the contract's cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_scripts.host.gpu.library import Library, Pointers
from export.operator_table import FLOAT_OPERATORS
from tests.support.cases import convolution as cases
from tests.support.cases.cuda import FLOAT16_TOLERANCE, convolution, half_case, stored_weight
from tests.support.cases.implementations import output_shape
from tests.support.cases.plugins import Array
from tests.support.cases.reference import FLOAT32_TOLERANCE, Case, check
from tests.support.toolchains.cpp_programs import OPTIMIZED, SANITIZED, THREADS
from tests.support.toolchains.nvidia import tensorrt_include

operators = pytest.mark.parametrize("operator", FLOAT_OPERATORS)
types = pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])

# The Nano's GPU has one.
MULTIPROCESSORS = 1


def test_kernels_stay_within_their_arrays_and_are_right() -> None:
    assert " 0 failures" in SANITIZED.output(SANITIZED.build("cuda_test_fibers"))


def test_kernels_have_no_races() -> None:
    """With a few shapes: a thread for each of a block's threads is slow."""
    assert " 0 failures" in THREADS.output(THREADS.build("cuda_test_threads"), "0")


@pytest.fixture(scope="module")
def plugins() -> Library:
    """The plugins, compiled against TensorRT's headers, with kernels for the host."""
    tensorrt_include()  # leaves the tests out where there is none
    return Library(OPTIMIZED.build("tensorrt_cases"), MULTIPROCESSORS)


def enqueue(plugins: Library, case: Case, half: bool) -> Array:
    """The case's output from a plugin that went through an engine file, into memory full of NaN."""
    dtype = np.float16 if half else np.float32
    called = convolution(case, half)
    x = np.ascontiguousarray(case.x, dtype)
    y = np.full(output_shape(case), np.nan, dtype)
    workspace = np.full(plugins.workspace_bytes(called), 0xFF, np.uint8)
    arrays = (x, stored_weight(case), case.scale, case.bias, y, workspace)
    plugins.run(called, Pointers(*(array.ctypes.data for array in arrays)))
    return y


def check_case(plugins: Library, case: Case, half: bool) -> None:
    if half:
        case = half_case(case)
    tolerance = FLOAT16_TOLERANCE if half else FLOAT32_TOLERANCE
    check(enqueue(plugins, case, half), case, tolerance)


@operators
@types
@settings(max_examples=2 * settings().max_examples, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_plugins_run_any_case(
    plugins: Library, operator: str, half: bool, data: st.DataObject
) -> None:
    check_case(plugins, data.draw(cases.cases(operator)), half)


@operators
@types
@pytest.mark.parametrize("name", cases.LARGER)
def test_plugins_run_larger_cases(
    plugins: Library, operator: str, half: bool, name: str, rng: np.random.Generator
) -> None:
    check_case(plugins, cases.larger_case(name, operator, rng), half)


def test_plugins_refuse_what_breaks_the_contract(
    plugins: Library, rng: np.random.Generator
) -> None:
    case = cases.larger_case("pointwise", "ShiftConv", rng)
    broken = replace(case, group=7)
    with pytest.raises(ValueError, match="group 7"):
        plugins.workspace_bytes(convolution(broken, False))

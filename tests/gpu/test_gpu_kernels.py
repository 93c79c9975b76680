"""The CUDA kernels on the GPU: the contract's cases, and PyTorch's own layers on the same GPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_scripts.host.gpu.tensors import GpuLibrary
from export.operator_table import FLOAT_OPERATORS
from tests.support.cases import convolution as cases
from tests.support.cases.cuda import FLOAT16_TOLERANCE, convolution, half_case, stored_weight
from tests.support.cases.implementations import case_module, output_shape
from tests.support.cases.plugins import Array
from tests.support.cases.reference import FLOAT32_TOLERANCE, Case, check, evaluate

operators = pytest.mark.parametrize("operator", FLOAT_OPERATORS)
types = pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])


@pytest.fixture(scope="session")
def library() -> GpuLibrary:
    """The kernels, built for this GPU; without one these tests fail."""
    return GpuLibrary()


def run(library: GpuLibrary, case: Case, half: bool) -> Array:
    """The case's output on the GPU, in memory that was full of NaN before."""
    prepared = library.prepare(
        convolution(case, half), case.x, stored_weight(case), case.scale, case.bias
    )
    y = torch.full(output_shape(case), torch.nan, dtype=prepared.x.dtype, device="cuda")
    prepared.run(y)
    output: Array = y.float().cpu().numpy()
    return output


def check_case(library: GpuLibrary, case: Case, half: bool) -> None:
    if half:
        case = half_case(case)
    check(run(library, case, half), case, FLOAT16_TOLERANCE if half else FLOAT32_TOLERANCE)


@operators
@types
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_contract(library: GpuLibrary, operator: str, half: bool, data: st.DataObject) -> None:
    check_case(library, data.draw(cases.cases(operator)), half)


@operators
@types
@pytest.mark.parametrize("name", cases.LARGER)
def test_larger_cases(
    library: GpuLibrary, operator: str, half: bool, name: str, rng: np.random.Generator
) -> None:
    check_case(library, cases.larger_case(name, operator, rng), half)


@operators
@pytest.mark.parametrize("name", cases.LARGER)
def test_agrees_with_pytorch_on_the_gpu(
    library: GpuLibrary, operator: str, name: str, rng: np.random.Generator
) -> None:
    """Both are within the tolerance of float64, so within twice of it of each other."""
    case = cases.larger_case(name, operator, rng)
    torch.backends.cudnn.allow_tf32 = False
    with torch.no_grad():
        sums = case_module(case).cuda()(torch.from_numpy(case.x).cuda())
    ones, zeros = np.ones_like(case.scale), np.zeros_like(case.bias)
    linear = replace(case, scale=ones, bias=zeros, activation="none")
    difference = np.linalg.norm(run(library, linear, False) - sums.cpu().numpy())
    assert difference <= 2 * FLOAT32_TOLERANCE * np.linalg.norm(evaluate(linear).magnitude)


def test_refusals_name_the_field(library: GpuLibrary, rng: np.random.Generator) -> None:
    case = cases.larger_case("pointwise", "ShiftConv", rng)
    broken = replace(case, strides=(0, 1))
    with pytest.raises(ValueError, match="strides"):
        library.prepare(
            convolution(broken, False), case.x, stored_weight(case), case.scale, case.bias
        )

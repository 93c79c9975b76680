"""The GPU's rounding of shift weights without a GPU: in Triton's interpreter."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="requirements-dev.txt installs Triton on Linux x86_64",
)

CHILD = """
import itertools
import torch
from export.operators import shift_triton
from export.operators.shift import round_to_power_of_two

for shape in [(1, 1, 1, 1), (5, 1, 3, 3), (64, 3, 3, 3), (7, 515, 1, 1)]:
    for span, least in itertools.product((None, 3, 7), (-30, -15)):
        weight = torch.randn(shape) * torch.exp2(torch.randint(-40, 3, (shape[0], 1, 1, 1)).float())
        weight[0, 0, 0, 0] = 0
        # Next to the square root of 2 times a power PyTorch's logarithm is rounded to the halfway.
        mantissa = torch.frexp(weight.abs())[0]
        weight = torch.where((mantissa - 0.5**0.5).abs() < 1e-5, weight * 1.2, weight)
        expected = round_to_power_of_two(weight, least, span=span)
        for layout in (torch.contiguous_format, torch.channels_last):
            for dtype in (torch.float32, torch.bfloat16):
                given = weight.contiguous(memory_format=layout)
                got = shift_triton.round_to_power_of_two(given, least, 0, span, dtype)
                assert got.dtype == dtype and got.stride() == given.stride()
                assert torch.equal(got.float(), expected), (shape, span, least, layout, dtype)
weight = torch.tensor([[1.0, torch.nan]]).view(1, 2, 1, 1)
assert shift_triton.round_to_power_of_two(weight, -9, 0, 7, torch.float32).isnan().tolist() == [
    [[[False]], [[True]]]
]
print("equal")
"""


def test_it_rounds_as_pytorch_does() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        cwd=REPOSITORY,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "equal\n"

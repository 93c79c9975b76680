"""Cases of the operator contract for the CUDA kernels, in float32 and in float16."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from device_scripts.host.gpu.library import Convolution
from tests.support.cases.convolution import pack_codes
from tests.support.cases.plugins import Array
from tests.support.cases.reference import Case, evaluate

FLOAT16_TOLERANCE = 2e-3
"""Largest ||out - reference|| / ||magnitude|| of float16 X and Y (docs/operators.md, section 9)."""

_LARGEST_HALF = 65504.0


def half_case(case: Case) -> Case:
    """The case with inputs that float16 holds, and with outputs of a size that it can."""
    x = case.x.clip(-_LARGEST_HALF, _LARGEST_HALF).astype(np.float16).astype(np.float32)
    rounded = replace(case, x=x)
    magnitude = evaluate(rounded).magnitude
    largest = float(magnitude.max(initial=0.0))
    factor = np.float32(min(1.0, _LARGEST_HALF / 8 / largest)) if largest else np.float32(1)
    return replace(rounded, scale=case.scale * factor, bias=case.bias * factor)


def convolution(case: Case, half: bool) -> Convolution:
    """What the kernels are told of a case."""
    batch, channels, height, width = case.x.shape
    return Convolution(
        operator=case.operator,
        x_shape=(batch, channels, height, width),
        out_channels=case.weight.shape[0],
        kernel_shape=case.kernel_shape,
        strides=case.strides,
        pads=case.pads,
        dilations=case.dilations,
        group=case.group,
        weight_bits=case.weight_bits,
        activation=case.activation,
        half=half,
    )


def stored_weight(case: Case) -> Array:
    """W as the operator is given it: packed int32 of a shift, float32 of an adder."""
    if case.operator == "ShiftConv":
        return pack_codes(case.weight, case.weight_bits)
    return np.ascontiguousarray(case.weight)

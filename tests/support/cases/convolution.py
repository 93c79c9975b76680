"""Cases of the operator contract: hypothesis strategies, and a few larger ones that are fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from export.operator_table import ACTIVATIONS
from tests.support.cases.reference import Case, Float32

_KERNEL_SIZES = (1, 2, 3, 5)
# Below, at and above the widths of vectors and register blocks: 4, 8, 16 floats.
_CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 19)
_SMALL_CHANNELS = (1, 2, 3, 5)


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    """Any small convolution: the arguments of integer_case, without activation."""
    kernel = draw(st.tuples(st.sampled_from(_KERNEL_SIZES), st.sampled_from(_KERNEL_SIZES)))
    dilations = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    pads = draw(st.tuples(*[st.integers(0, 3)] * 4))
    height, width = (
        draw(_extents(dilations[axis] * (kernel[axis] - 1) + 1 - pads[axis] - pads[axis + 2]))
        for axis in (0, 1)
    )
    group, channels, outputs = draw(_channels())
    return {
        "x_shape": (draw(st.integers(1, 3)), group * channels, height, width),
        "out_channels": group * outputs,
        "kernel_shape": kernel,
        "group": group,
        "strides": draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        "pads": pads,
        "dilations": dilations,
    }


@st.composite
def cases(draw: st.DrawFn, operator: str) -> Case:
    """Any small case of a float `operator`: every attribute, with fresh random inputs."""
    drawn = draw(geometries())
    x_shape, outputs, kernel = (drawn.pop(k) for k in ("x_shape", "out_channels", "kernel_shape"))
    bits = draw(st.sampled_from((4, 8))) if operator == "ShiftConv" else 0
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (outputs, x_shape[1] // drawn["group"], *kernel)
    weight_kind = draw(st.sampled_from(("mixed", "extreme", "zero")))
    return Case(
        operator=operator,
        x=draw_x(rng, x_shape, draw(_x_kinds)),
        weight=draw_weight(rng, shape, bits, weight_kind),
        scale=rng.normal(size=shape[0]).astype(np.float32),
        bias=rng.normal(size=shape[0], scale=3.0).astype(np.float32),
        weight_bits=bits,
        activation=draw(st.sampled_from(list(ACTIVATIONS))),
        **drawn,
    )


_x_kinds = st.sampled_from(("normal", "offset", "wide"))


def _extents(least: int) -> st.SearchStrategy[int]:
    """A height or width from the least that leaves one output position on."""
    least = max(1, least)
    return st.integers(least, least + 9)


@st.composite
def _channels(draw: st.DrawFn) -> tuple[int, int, int]:
    """group, input channels a group, output channels a group: dense, grouped or depthwise."""
    kind = draw(st.sampled_from(("dense", "grouped", "depthwise")))
    if kind == "dense":
        return 1, draw(st.sampled_from(_CHANNELS)), draw(st.sampled_from(_CHANNELS))
    if kind == "depthwise":
        return draw(st.sampled_from(_CHANNELS)), 1, draw(st.integers(1, 3))
    few = st.sampled_from(_SMALL_CHANNELS)
    return draw(st.integers(2, 4)), draw(few), draw(few)


def draw_x(rng: np.random.Generator, shape: Sequence[int], kind: str = "normal") -> Float32:
    """Inputs around 0, around a large offset, or over six orders of magnitude."""
    x = rng.normal(size=shape)
    if kind == "offset":
        x += rng.uniform(-1000, 1000)
    elif kind == "wide":
        x *= 10.0 ** rng.uniform(-3, 3, size=shape)
    drawn: Float32 = x.astype(np.float32)
    return drawn


def draw_weight(
    rng: np.random.Generator, shape: Sequence[int], bits: int, kind: str = "mixed"
) -> Float32:
    """Weights that `bits` bits encode (0: an adder's), some of them 0.

    "extreme" draws from the ends of the range only, "zero" leaves one output channel 0 throughout.
    """
    if bits:
        largest = 7 if bits == 4 else 31
        magnitudes = [1, largest] if kind == "extreme" else list(range(largest + 1))
        code = rng.choice(magnitudes, size=shape)
        value = np.where(code == 0, 0.0, np.exp2(1.0 - code)) * rng.choice([-1.0, 1.0], size=shape)
    else:
        value = rng.normal(size=shape) * rng.choice([0.0, 1.0, 1.0, 1.0], size=shape)
        if kind == "extreme":
            value *= 100.0
    if kind == "zero":
        value[rng.integers(shape[0])] = 0.0
    weight: Float32 = value.astype(np.float32)
    return weight


def larger_case(name: str, operator: str, rng: np.random.Generator) -> Case:
    """The case `name` of LARGER: several blocks of every tiling, and long sums."""
    fields = dict(LARGER[name])
    x_shape, shape = fields.pop("x"), fields.pop("weight")
    bits = 4 if operator == "ShiftConv" else 0
    return Case(
        operator=operator,
        x=draw_x(rng, x_shape),
        weight=draw_weight(rng, shape, bits),
        scale=rng.normal(size=shape[0]).astype(np.float32),
        bias=rng.normal(size=shape[0]).astype(np.float32),
        weight_bits=bits,
        **fields,
    )


LARGER: dict[str, dict[str, Any]] = {
    "dense 3x3": {"x": (1, 64, 17, 19), "weight": (96, 64, 3, 3), "pads": (1, 1, 1, 1)},
    "pointwise": {"x": (2, 130, 13, 11), "weight": (70, 130, 1, 1), "activation": "relu"},
    "pointwise, stride 2": {"x": (1, 48, 27, 21), "weight": (33, 48, 1, 1), "strides": (2, 2)},
    "K = 4608": {"x": (1, 512, 6, 5), "weight": (24, 512, 3, 3), "pads": (0, 1, 1, 0)},
    "depthwise 5x5": {
        "x": (2, 72, 23, 19),
        "weight": (72, 1, 5, 5),
        "pads": (2, 2, 2, 2),
        "strides": (2, 2),
        "group": 72,
        "activation": "hardswish",
    },
    "depthwise, multiplier 2": {
        "x": (1, 40, 15, 33),
        "weight": (80, 1, 3, 3),
        "pads": (1, 1, 1, 1),
        "group": 40,
        "activation": "relu6",
    },
    "grouped, dilated": {
        "x": (1, 48, 20, 18),
        "weight": (36, 12, 3, 3),
        "pads": (2, 0, 1, 3),
        "dilations": (2, 2),
        "group": 4,
    },
    "wide image": {"x": (1, 3, 9, 301), "weight": (20, 3, 3, 3), "pads": (1, 1, 1, 1)},
    "one position": {"x": (3, 200, 1, 1), "weight": (101, 200, 1, 1)},
}  # fmt: skip


def pack_codes(weight: npt.NDArray[Any], bits: int) -> npt.NDArray[np.int32]:
    """Weights [M, Cg, kH, kW] as the contract's int32 rows [M, ceil(K*bits/32)].

    Independent of the exporter's codec: bytes are laid out and read as little-endian words.
    """
    rows = weight.reshape(weight.shape[0], -1).astype(np.float64)
    magnitude = np.abs(rows)
    exponent = np.log2(np.where(magnitude > 0, magnitude, 1.0))
    k = np.where(magnitude > 0, 1 - exponent, 0).astype(np.uint8)
    code = k | (rows < 0).astype(np.uint8) << (bits - 1)
    per_word = 32 // bits
    code = np.pad(code, ((0, 0), (0, -code.shape[1] % per_word)))
    if bits == 4:
        code = code[:, 0::2] | code[:, 1::2] << 4
    return np.ascontiguousarray(code).view("<i4").astype(np.int32)

"""calibration/quantization.py: from a range to a grid, for calibration and fine-tuning alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibration.quantization import Grid, Range, grid_over, symmetric_scale
from calibration.scales import share_scales
from export.training.fixed_point import Activation
from runtime.core.errors import ModelError

TINY = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)

# Ends of ranges of every size that float32 has, with both zeros and what is hardly more than none.
NUMBERS = st.one_of(
    st.floats(-LARGEST / 4, LARGEST / 4, width=32),
    st.floats(-10, 10, width=32),
    st.sampled_from([0.0, -0.0, TINY, -TINY, 2.0**-149, 1e-38, LARGEST / 4]),
)
BITS = st.sampled_from([8, 16])


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """Ranges of two ends, and constants."""
    low, high = sorted((draw(NUMBERS), draw(NUMBERS)))
    return Range(low, low) if draw(st.booleans()) else Range(low, high)


@given(ranges(), BITS)
def test_the_grid_reaches_over_the_range_and_holds_zero(limits: Range, bits: int) -> None:
    grid = grid_over("x", limits, bits)
    low, high = min(limits.low, 0.0), max(limits.high, 0.0)
    assert grid.last == 2**bits - 1
    assert 0 <= grid.zero_point <= grid.last
    assert np.float32(grid.scale) == grid.scale
    assert TINY <= grid.scale < math.inf
    assert np.isfinite(np.float32(1) / np.float32(grid.scale))
    # The ends are half a step from a code, and a rounding of the scale for each step between.
    slack = grid.scale * (0.5 + grid.last * 2.0**-24)
    assert grid.low <= low + slack
    assert grid.high >= high - slack
    if (high - low) / grid.last > TINY * 1.001:
        assert grid.scale == pytest.approx((high - low) / grid.last, rel=2.0**-24)
        assert grid.zero_point == np.clip(np.rint(-low / grid.scale), 0, grid.last)


@given(st.floats(2.0**-80, 2.0**100, width=32), st.sampled_from([1, -1]), BITS)
def test_a_constant_is_an_end_of_its_grid(value: float, sign: int, bits: int) -> None:
    grid = grid_over("x", Range(sign * value, sign * value), bits)
    end = grid.high if sign > 0 else grid.low
    assert end == pytest.approx(sign * value, rel=2.0**-23)
    assert grid.zero_point == (0 if sign > 0 else grid.last)


@pytest.mark.parametrize("value", [0.0, -0.0, 2.0**-149, 1e-38, -1e-38])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_constant_zero_has_a_small_step(value: float, bits: int) -> None:
    assert grid_over("x", Range(value, value), bits) == Grid(2.0**-20, 0, 2**bits - 1)


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1), BITS)
def test_values_lose_half_a_step(values: list[float], bits: int) -> None:
    grid = grid_over("x", Range(min(values), max(values)), bits)
    x = np.array(values)
    codes = np.clip(np.rint(x / grid.scale) + grid.zero_point, 0, grid.last)
    # At an end of the range the zero point's rounding takes another half.
    assert np.abs((codes - grid.zero_point) * grid.scale - x).max() <= grid.scale * 1.001


@given(ranges(), BITS)
def test_fine_tuning_has_the_grid_of_calibration(limits: Range, bits: int) -> None:
    activation = Activation("x")
    activation.observing = True
    activation(torch.tensor([limits.low, limits.high], dtype=torch.float32))
    assert activation.grid(bits) == grid_over("x", limits, bits)
    assert activation.grid(8) == share_scales([], {"x": limits}, [])["x"].grid


@pytest.mark.parametrize(
    ("limits", "scale", "zero_point"),
    [
        (Range(-0.5, 254.5), 1, 0),
        (Range(-1.5, 253.5), 1, 2),
        (Range(51, 102), 0.4, 0),
        (Range(102, 102), 0.4, 0),
        (Range(-102, -51), 0.4, 255),
        (Range(-102, -102), 0.4, 255),
        (Range(-128, 127), 1, 128),
    ],
)
def test_halves_go_to_even_and_zero_has_a_code(
    limits: Range, scale: float, zero_point: int
) -> None:
    assert grid_over("x", limits) == Grid(float(np.float32(scale)), zero_point)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Range(math.nan, 1.0), r"layer/y: its range is nan\.\.1\.0, which is not finite"),
        (Range(0.0, math.inf), r"layer/y: its range is 0\.0\.\.inf, which is not finite"),
        (Range(-1e300, 1e300), "layer/y: no float32 is a scale for its range"),
    ],
)
def test_ranges_without_a_scale(limits: Range, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        grid_over("layer/y", limits)
    assert "\n" not in str(caught.value)


@given(ranges())
def test_the_symmetric_scale_is_a_float32_that_reaches_the_larger_end(limits: Range) -> None:
    scale = symmetric_scale("x", limits)
    magnitude = max(abs(limits.low), abs(limits.high))
    assert TINY <= scale < math.inf
    assert np.float32(scale) == scale
    if magnitude / 127 > TINY * 1.001:
        assert scale == float(np.float32(magnitude / 127))
    else:
        assert scale in (2.0**-20, TINY)

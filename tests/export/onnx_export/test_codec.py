"""The packed weights of ShiftConv: round trips, the bit layout and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.onnx_export import codec
from tests.support.models.runtime import pack as pack_bit_by_bit

RANGES = {4: 6, 8: 30}


def f32(values: Any) -> codec.Weights:
    return np.array(values, np.float32)


@st.composite
def shift_weights(draw: st.DrawFn, weight_bits: int) -> codec.Weights:
    shape = draw(st.tuples(*(st.integers(1, high) for high in (5, 6, 3, 3))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    exponents = rng.integers(0, RANGES[weight_bits] + 1, size=shape)
    return (rng.integers(-1, 2, size=shape) * np.ldexp(1.0, -exponents)).astype(np.float32)


@pytest.mark.parametrize("weight_bits", [4, 8])
def test_round_trip(weight_bits: int) -> None:
    @given(shift_weights(weight_bits))
    def check(weights: codec.Weights) -> None:
        words = codec.pack(weights, weight_bits)
        assert words.dtype == np.int32
        assert words.shape == (len(weights), -(-weights[0].size * weight_bits // 32))
        back = codec.unpack(words, weights.shape, weight_bits)
        assert back.dtype == np.float32
        np.testing.assert_array_equal(back, weights)

    check()


@pytest.mark.parametrize("weight_bits", [4, 8])
def test_layout_is_lowest_bits_first(weight_bits: int) -> None:
    rng = np.random.default_rng()
    k = rng.integers(1, RANGES[weight_bits] + 2, size=(3, 11))
    sign = rng.integers(0, 2, size=k.shape)
    weights = (1 - 2 * sign) * np.ldexp(1.0, 1 - k)
    expected = pack_bit_by_bit(sign << (weight_bits - 1) | k, weight_bits)
    np.testing.assert_array_equal(codec.pack(weights, weight_bits), expected)


def test_the_top_code_of_a_word_survives() -> None:
    weights = np.zeros((1, 8), np.float32)
    weights[0, 7] = -1 / 64
    words = codec.pack(weights, 4)
    assert words.tolist() == [[-(2**28)]]
    np.testing.assert_array_equal(codec.unpack(words, (1, 8), 4), weights)


def test_negative_zero_is_the_weight_zero() -> None:
    assert codec.pack(f32([[-0.0]]), 4).tolist() == [[0]]


@pytest.mark.parametrize(
    ("weights", "bits"),
    [([0.0], 4), ([1.0, -1 / 64], 4), ([2.0**-7], 8), ([1.0, -(2.0**-30)], 8)],
)
def test_code_bits_is_the_narrowest(weights: list[float], bits: int) -> None:
    assert codec.code_bits(f32(weights)) == bits


@pytest.mark.parametrize(
    ("value", "shown"),
    [(2.0, "2"), (0.3, "0.300000012"), (np.nan, "nan"), (-np.inf, "-inf"), (2.0**-31, "e-10")],
)
def test_values_without_a_code_are_named(value: float, shown: str) -> None:
    weights = np.array([[1.0, 0.5], [value, 0.0]], np.float32)
    with pytest.raises(ValueError, match=rf"{shown} at \[1, 0\]"):
        codec.code_bits(weights)
    with pytest.raises(ValueError, match=rf"{shown} at \[1, 0\]"):
        codec.pack(weights, 8)


def test_a_weight_below_the_nibble_is_refused() -> None:
    with pytest.raises(ValueError, match=r"-0\.0078125 .* weight_bits 4"):
        codec.pack(f32([[1.0, -1 / 128]]), 4)


@pytest.mark.parametrize("weight_bits", [0, 3, 16])
def test_other_code_widths_are_refused(weight_bits: int) -> None:
    with pytest.raises(ValueError, match=f"4 or 8, got {weight_bits}"):
        codec.pack(f32([[1.0]]), weight_bits)


@pytest.mark.parametrize(
    ("codes", "depth", "weight_bits", "message"),
    [
        ([1, 8], 2, 4, r"code 8 at \[0, 1\]"),
        ([1, 128], 2, 8, r"code 128 at \[0, 1\]"),
        ([32], 1, 8, r"code 32 at \[0, 0\]"),
        ([255], 1, 8, r"code 255 at \[0, 0\]"),
        ([1, 1, 3], 2, 4, r"tail must be 0, got code 3 at \[0, 2\]"),
    ],
)
def test_broken_codes_are_refused(
    codes: list[int], depth: int, weight_bits: int, message: str
) -> None:
    words = pack_bit_by_bit(np.array([codes]), weight_bits)
    with pytest.raises(ValueError, match=message):
        codec.unpack(words, (1, depth), weight_bits)


def test_words_of_another_shape_or_type_are_refused() -> None:
    with pytest.raises(ValueError, match=r"int32 \[2, 2\], got int32 \[2, 1\]"):
        codec.unpack(np.zeros((2, 1), np.int32), (2, 9), 4)
    with pytest.raises(ValueError, match="got int64"):
        codec.unpack(np.zeros((2, 2), np.int64), (2, 9), 4)


def test_nearest_powers_undoes_an_ulp() -> None:
    rng = np.random.default_rng()
    exact = rng.choice([-1.0, 0.0, 1.0], 200) * np.ldexp(1.0, -rng.integers(0, 31, 200))
    blurred = f32(exact) * np.float32(1 + 1e-6)
    np.testing.assert_array_equal(codec.nearest_powers(blurred), f32(exact))


def test_nearest_powers_leaves_what_has_none() -> None:
    values = f32([0.0, np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(codec.nearest_powers(values), values)


@pytest.mark.parametrize("lowest", [-6, -20])
def test_narrow_takes_out_a_power_of_two_a_channel(lowest: int) -> None:
    rng = np.random.default_rng()
    exponents = lowest + rng.integers(-6, 1, (8, 5, 3, 3))
    weights = (np.exp2(exponents) * rng.choice([-1, 0, 1], exponents.shape)).astype(np.float32)
    weights[0] = 0
    small, scale = codec.narrow(weights)
    assert codec.code_bits(small) == 4
    assert np.array_equal(small * scale.reshape(-1, 1, 1, 1), weights)
    assert scale[0] == 1


def test_narrow_leaves_what_gains_nothing() -> None:
    wide = np.array([[1, 2**-7], [2**-3, 2**-4]], np.float32)
    fits = np.array([[2**-5, 2**-6]], np.float32)
    for weights in (wide, fits):
        same, scale = codec.narrow(weights)
        assert np.array_equal(same, weights)
        assert np.array_equal(scale, np.ones(len(weights)))

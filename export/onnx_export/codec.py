"""The packed weights of ShiftConv: codes of 4 or 8 bits in int32 words (docs/operators.md, section
2.1).

A code's top bit is the sign, the rest is k: 0 is the weight 0, k >= 1 the magnitude 2^(1-k).
Codes fill a word from its lowest bits; each output channel starts on a fresh word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

WORD_BITS = 32
MAX_K = {4: 7, 8: 31}
"""The largest k by `weight_bits`: magnitudes down to 2^-6 and 2^-30."""

Codes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.int32]
Weights = npt.NDArray[Any]


def code_bits(weights: Weights) -> int:
    """The narrowest code that holds `weights` (any shape, each 0 or +-2^-p): 4 or 8 bits.

    Raises ValueError naming the first value that no code holds: above 1, not a power of two,
    below 2^-30, or not finite.
    """
    k = _exponent_codes(weights)
    return 4 if int(k.max(initial=0)) <= MAX_K[4] else 8


def narrow(weights: Weights) -> tuple[Weights, npt.NDArray[np.float32]]:
    """Weights [M, ...] and scale [M] whose product is `weights`, to fit 4 bits if they can.

    A channel of weights that are all small needs 8 bits only for the power of two they share, and
    one with weights above 1 has no code without it. Taken out it costs nothing: scaling by a power
    of two is exact. Where the weights have codes as they are, and 4 bits would not do for what is
    left either, or do from the start, the scale is 1.

    Raises ValueError for a weight that no code holds.
    """
    ones = np.ones(weights.shape[0], np.float32)
    as_they_are = _bits_or_none(weights)
    if as_they_are == 4:
        return weights, ones
    largest = np.abs(weights).reshape(weights.shape[0], -1).max(1)
    usable = np.isfinite(largest) & (largest > 0)
    top = np.where(usable, largest, 1).astype(np.float32)
    small = weights / top.reshape(-1, *[1] * (weights.ndim - 1))
    if as_they_are is None:
        # The message is to name the weight itself, where it is no power of two.
        return (small, top) if _bits_or_none(small) is not None else (weights, ones)
    return (small, top) if _bits_or_none(small) == 4 else (weights, ones)


def _bits_or_none(weights: Weights) -> int | None:
    try:
        return code_bits(weights)
    except ValueError:
        return None


def pack(weights: Weights, weight_bits: int) -> Words:
    """Weights [M, ...], each 0 or +-2^-p, as int32 [M, ceil(K*weight_bits/32)], K = size of a row.

    Raises ValueError for weights that `weight_bits` (4 or 8) cannot hold, naming the first.
    """
    _check_bits(weight_bits)
    weights = np.asarray(weights)
    k = _exponent_codes(weights)
    if (k > MAX_K[weight_bits]).any():
        value = weights[k > MAX_K[weight_bits]].flat[0]
        least = 1 - MAX_K[weight_bits]
        raise ValueError(
            f"weight {value} is below 2^{least}, the least of weight_bits {weight_bits}"
        )
    # A weight of -0.0 has no sign: k = 0 with the sign bit is refused.
    sign = ((weights < 0) * (1 << (weight_bits - 1))).astype(np.uint8)
    codes = (k | sign).reshape(weights.shape[0], -1)
    width = row_words(codes.shape[1], weight_bits)
    padded: npt.NDArray[Any] = np.zeros(
        (codes.shape[0], width * WORD_BITS // weight_bits), np.uint8
    )
    padded[:, : codes.shape[1]] = codes
    if weight_bits == 4:
        padded = padded[:, 0::2] | (padded[:, 1::2] << 4)
    return np.ascontiguousarray(padded).view("<u4").astype(np.uint32).view(np.int32)


def unpack(words: Words, shape: tuple[int, ...], weight_bits: int) -> npt.NDArray[np.float32]:
    """The weights of `shape` [M, ...], float32, that `pack` wrote as int32 words [M, width].

    Raises ValueError for words of another shape or type, k = 0 with the sign bit, k > 31, and
    tail bits that are not 0.
    """
    _check_bits(weight_bits)
    depth = int(np.prod(shape[1:], dtype=np.int64))
    expected = (shape[0], row_words(depth, weight_bits))
    if words.dtype != np.int32 or words.shape != expected:
        raise ValueError(
            f"packed weights must be int32 {list(expected)}, got {words.dtype} {list(words.shape)}"
        )
    codes = _split(words, weight_bits)
    tail = codes[:, depth:]
    if tail.any():
        row, column = np.argwhere(tail)[0]
        raise ValueError(
            f"the unused tail must be 0, got code {tail[row, column]} at [{row}, {depth + column}]"
        )
    return _decode(codes[:, :depth], weight_bits).reshape(shape)


def row_words(depth: int, weight_bits: int) -> int:
    """int32 words that a row of `depth` weights takes."""
    return -(-depth * weight_bits // WORD_BITS)


def nearest_powers(weights: Weights) -> npt.NDArray[np.float32]:
    """sign(w) * 2^round(log2|w|), exactly; 0 and what is not finite stay as they are. Any shape.

    PyTorch's straight-through rounding and its exp2 leave a power of two within an ulp of one.
    """
    weights = np.asarray(weights, np.float64)
    ordinary = np.isfinite(weights) & (weights != 0)
    exponent = np.rint(np.log2(np.where(ordinary, np.abs(weights), 1.0))).astype(np.int64)
    powers = np.sign(weights) * np.ldexp(1.0, exponent)
    return np.where(ordinary, powers, weights).astype(np.float32)


def _exponent_codes(weights: Weights) -> Codes:
    weights = np.asarray(weights)
    mantissa, exponent = np.frexp(np.abs(weights))
    zero = weights == 0
    # frexp: |w| = mantissa * 2^exponent with the mantissa in [1/2, 1), so k = 2 - exponent.
    k = np.where(zero, 0, 2 - exponent.astype(np.int64))
    # A NaN's mantissa is not 1/2 either.
    bad = ~zero & ((mantissa != 0.5) | (k < 1) | (k > MAX_K[8]))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"weight {weights[place]:.9g} at {list(place)} "
            "is neither 0 nor +-2^-p with p from 0 to 30"
        )
    return k.astype(np.uint8)


def _split(words: Words, weight_bits: int) -> Codes:
    octets = np.ascontiguousarray(words.view(np.uint32).astype("<u4")).view(np.uint8)
    if weight_bits == 8:
        return octets
    return np.stack([octets & 15, octets >> 4], axis=-1).reshape(words.shape[0], -1)


def _decode(codes: Codes, weight_bits: int) -> npt.NDArray[np.float32]:
    sign_bit = 1 << (weight_bits - 1)
    k = codes & (sign_bit - 1)
    bad = ((k == 0) & (codes != 0)) | (k > MAX_K[weight_bits])
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"code {codes[row, column]} at [{row}, {column}] stands for no weight")
    magnitude = np.where(k == 0, 0.0, np.ldexp(1.0, 1 - k.astype(np.int32)))
    return np.where(codes & sign_bit, -magnitude, magnitude).astype(np.float32)


def _check_bits(weight_bits: int) -> None:
    if weight_bits not in MAX_K:
        raise ValueError(f"weight_bits must be 4 or 8, got {weight_bits}")

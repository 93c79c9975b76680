"""Histograms that grow with the values that they are given, and do not depend on their order.

ONNX Runtime's own collector (onnxruntime.quantization.calibrate.HistogramCollector) cannot be used
instead. Its first batch fixes the width of the bins, so that the result depends on how the data is
cut into batches, and a first batch of small values makes as many bins as memory holds. The
calibrators around it keep every output of every image until the end, and offer no way to register
an operator library with their session.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_HALF = 4096
_EXPONENT = _HALF.bit_length() - 1
_NARROWEST = -126  # the least exponent whose power of two has a reciprocal in float32

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


class Histogram:
    """Counts in 8192 bins around 0, whose width is a power of two.

    The largest magnitude seen lies in the outer half of its side, so that one side alone has at
    least 2048 bins for the values, 8 for each of 256 codes. Doubling the width merges bins in
    pairs, which is exact: the counts are the same as if all values had come at once.
    """

    def __init__(self) -> None:
        self._exponent = _NARROWEST
        self._counts = np.zeros(2 * _HALF, np.int64)
        self._zeros = 0

    @property
    def width(self) -> float:
        """The width of a bin, in the unit of the values."""
        return math.ldexp(1.0, self._exponent)

    def add(self, values: Float32, magnitude: float) -> None:
        """Counts finite values, float32 of any shape, none of which is larger than `magnitude`."""
        self._grow(math.frexp(magnitude)[1] - _EXPONENT)
        self._zeros += values.size - int(np.count_nonzero(values))
        # The factor is a power of two, so the product is exact: a value on the border of two bins
        # stays there.
        scaled = values.reshape(-1) * np.float32(math.ldexp(1.0, -self._exponent))
        indices = np.floor(scaled, out=scaled).astype(np.int64)
        indices += _HALF
        self._counts += np.bincount(indices, minlength=2 * _HALF)

    def occupied(self, with_zeros: bool) -> tuple[Float64, Int64]:
        """The lower edges, ascending, and the counts of the bins that hold a value.

        Values that are exactly 0 are left out unless `with_zeros`.
        """
        counts = self._counts.copy()
        if not with_zeros:
            counts[_HALF] -= self._zeros
        (indices,) = np.nonzero(counts)
        edges: Float64 = (indices - _HALF) * np.float64(self.width)
        return edges, counts[indices]

    def _grow(self, exponent: int) -> None:
        if exponent <= self._exponent:
            return
        shift = min(exponent - self._exponent, _EXPONENT + 1)
        merged = (np.arange(-_HALF, _HALF) >> shift) + _HALF
        counts = np.zeros_like(self._counts)
        np.add.at(counts, merged, self._counts)
        self._counts, self._exponent = counts, exponent

"""How a range is chosen from what an activation was seen to hold.

ONNX Runtime's own searches are not used. Its percentile cuts at the lower edge of the last bin, one
bin too early. Its entropy shrinks a range that is symmetric around 0 and counts 128 codes in it,
half of which stay unused behind a ReLU; uint8 has 256 codes and a zero point. Both searches here
quantize the histogram with the scale and the zero point that a candidate range would really get.
They leave out the values that are exactly 0, half of what a ReLU makes: 0 has a code of its own in
every range and loses nothing in any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from calibration.histogram import Float64, Histogram
from calibration.quantization import Range, grid_over

DEFAULT_PERCENTILE = 99.99
_STEPS_PER_OCTAVE = 32
_OCTAVES = 8
_ROUNDS = 3

Codes = npt.NDArray[np.int64]
Cost = Callable[[Range], float]


def percentile(seen: Range, histogram: Histogram, percent: float = DEFAULT_PERCENTILE) -> Range:
    """The range that holds `percent` of the values, with as many of the others below it as above.

    It is exact to within a bin, and too large rather than too small.
    """
    edges, counts = histogram.occupied(with_zeros=True)
    below = np.cumsum(counts) / counts.sum()
    cut = (1 - percent / 100) / 2
    first = int(np.searchsorted(below, cut, side="right"))
    last = min(int(np.searchsorted(below, 1 - cut)), len(edges) - 1)
    return Range(
        max(seen.low, float(edges[first])), min(seen.high, float(edges[last]) + histogram.width)
    )


def mse(name: str, seen: Range, histogram: Histogram) -> Range:
    """The range with the least squared difference of the values and what their codes stand for."""
    edges, counts = histogram.occupied(with_zeros=False)
    centres = edges + histogram.width / 2

    def cost(limits: Range) -> float:
        codes, scale, zero_point = _quantized(name, limits, centres)
        error = (np.clip(codes, 0, 255) - zero_point) * scale - centres
        return float(counts @ np.square(error))

    return _search(cost, seen)


def entropy(name: str, seen: Range, histogram: Histogram) -> Range:
    """The range whose codes lose the least information, by the Kullback-Leibler divergence.

    After Migacz, "8-bit Inference with TensorRT", GTC 2017: P is the histogram in which the counts
    outside of the range are added to its ends; Q is the histogram within the range in which every
    code's count is spread evenly over those of its bins that hold something.
    """
    edges, counts = histogram.occupied(with_zeros=False)
    centres = edges + histogram.width / 2

    def cost(limits: Range) -> float:
        codes, scale, _ = _quantized(name, limits, centres)
        (inside,) = np.nonzero((codes >= 0) & (codes <= 255))
        # With one bin for each code Q is the histogram itself, so that the divergence would not
        # notice how much is cut off.
        if not inside.size or scale < histogram.width:
            return np.inf
        first, last = inside[0], inside[-1] + 1
        return _divergence(
            codes[first:last], counts[first:last], counts[:first].sum(), counts[last:].sum()
        )

    return _search(cost, seen)


def _quantized(name: str, limits: Range, values: Float64) -> tuple[Codes, float, int]:
    """The values' codes before they are clipped to 0..255, the scale and the zero point."""
    grid = grid_over(name, limits)
    codes = np.rint(values / grid.scale).astype(np.int64) + grid.zero_point
    return codes, grid.scale, grid.zero_point


def _divergence(codes: Codes, counts: Codes, below: int, above: int) -> float:
    """KL(P || Q) in nats; `below` and `above` were counted outside of the range."""
    reference = counts.astype(np.float64)
    reference[0] += below
    reference[-1] += above
    totals = np.bincount(codes, weights=counts)
    bins = np.bincount(codes)
    spread = totals[codes] / bins[codes]
    p, q = reference / reference.sum(), spread / spread.sum()
    return float(p @ np.log(p / q))


def _search(cost: Cost, seen: Range) -> Range:
    """The cheapest range within `seen`: one end is searched after the other until neither moves."""
    lows, highs = _candidates(seen.low, -1), _candidates(seen.high, 1)
    best = seen
    for _ in range(_ROUNDS):
        before = best
        best = _cheapest(cost, [Range(low, best.high) for low in lows])
        best = _cheapest(cost, [Range(best.low, high) for high in highs])
        if best == before:
            break
    return best


def _cheapest(cost: Cost, candidates: Sequence[Range]) -> Range:
    return min((limits for limits in candidates if limits.low < limits.high), key=cost)


def _candidates(end: float, sign: int) -> list[float]:
    """`end` first, then ever nearer to 0, in steps of 2 % and at last 0 itself.

    An end on the other side of 0 stays as it is: the codes have to reach from 0 to it anyway.
    """
    if end * sign <= 0:
        return [end]
    steps = _OCTAVES * _STEPS_PER_OCTAVE
    return [float(end * 2 ** (-i / _STEPS_PER_OCTAVE)) for i in range(steps)] + [0.0]

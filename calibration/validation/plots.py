"""The report's pictures, as PNG files in memory."""

from __future__ import annotations

import numpy as np

from calibration.comparison.deviation import Deviation
from calibration.comparison.figures import (
    ACCUMULATED,
    FAILED,
    PASSED,
    layer_axes,
    logits_figure,
    png,
)
from calibration.validation.compare import LEAST_ISOLATED, LayerResult, Result

# The axis ends here, since it has no place for the infinite ratio of an exact layer or of pure
# noise.
_LEAST, _MOST = -10.0, 80.0
_SMALLEST_SHARE = 1e-7


def ratios_by_layer(result: Result) -> bytes:
    """Signal-to-noise ratios of every layer, in the network's order."""
    layers = result.layers
    figure, axes = layer_axes([layer.layer.name for layer in layers])
    alone = [place for place, layer in enumerate(layers) if layer.isolated is not None]
    axes.bar(
        alone,
        [_isolated(layers[place]) for place in alone],
        color=[PASSED if layers[place].passed else FAILED for place in alone],
        label="isolated",
    )
    axes.plot(
        alone,
        [_drawable(layers[place].rounding) for place in alone],
        "_",
        color="#202020",
        label="rounding alone",
    )
    axes.plot(
        range(len(layers)),
        [_drawable(layer.accumulated) for layer in layers],
        "o",
        color=ACCUMULATED,
        markersize=4,
        label="accumulated",
    )
    axes.axhline(LEAST_ISOLATED, color=FAILED, linestyle="--", label="least, isolated")
    axes.set_ylabel("signal-to-noise ratio, dB")
    axes.set_title("int8 against float, by layer")
    axes.legend(ncols=2, fontsize=8)
    return png(figure)


def saturation_by_layer(result: Result) -> bytes:
    """The share of codes at the ends of their ranges, in the network's order."""
    figure, axes = layer_axes([layer.layer.name for layer in result.layers], height=4.0)
    shares = [max(layer.saturation, _SMALLEST_SHARE) for layer in result.layers]
    axes.bar(range(len(shares)), shares, color=PASSED)
    axes.set_yscale("log")
    axes.set_ylim(_SMALLEST_SHARE, 1.0)
    axes.set_ylabel("share of codes")
    axes.set_title("Codes at the ends of the range, that of 0 left out")
    return png(figure)


def logits(result: Result) -> bytes:
    """The integer model's logits over the float model's, and their differences."""
    both = np.ravel(result.float_logits), np.ravel(result.integer_logits)
    return logits_figure({"images": both}, "float", "int8")


def _isolated(layer: LayerResult) -> float:
    assert layer.isolated is not None
    return _drawable(layer.isolated)


def _drawable(deviation: Deviation) -> float:
    return min(max(deviation.decibels, _LEAST), _MOST)

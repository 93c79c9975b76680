"""The report's pictures, as PNG files in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.comparison.deviation import Tolerances
from calibration.comparison.figures import (
    ACCUMULATED,
    FAILED,
    PASSED,
    layer_axes,
    logits_figure,
    png,
)
from export.validation.compare import InputResult
from export.validation.rows import LayerSummary

# The axis ends here, since a logarithmic axis has no place for an error of 0 or of infinity.
_SMALLEST, _LARGEST = 1e-10, 1e2


def errors_by_layer(layers: Sequence[LayerSummary], allowed: Tolerances) -> bytes:
    """Both errors of every layer against their tolerances."""
    figure, axes = layer_axes([layer.name for layer in layers])
    places = range(len(layers))
    axes.bar(
        places,
        [_drawable(layer.isolated) for layer in layers],
        color=[PASSED if layer.isolated_passed else FAILED for layer in layers],
        label="isolated",
    )
    heard = [place for place in places if not layers[place].silent]
    axes.plot(
        heard,
        [_drawable(layers[place].accumulated) for place in heard],
        "o",
        color=ACCUMULATED,
        markersize=4,
        label="accumulated",
    )
    axes.axhline(allowed.layer, color=PASSED, linestyle="--", label="tolerance, isolated")
    axes.axhline(allowed.network, color=ACCUMULATED, linestyle="--", label="tolerance, accumulated")
    axes.set_yscale("log")
    axes.set_ylabel("relative error")
    axes.set_title("Error by layer, against float64")
    axes.legend(ncols=2, fontsize=8)
    return png(figure)


def logits(results: Sequence[InputResult]) -> bytes:
    """The file's logits over PyTorch's, and how their differences are distributed."""
    series = {
        f"{result.kind} inputs": (np.ravel(result.logits.theirs), np.ravel(result.logits.ours))
        for result in results
    }
    return logits_figure(series, "PyTorch float64", "exported file")


def _drawable(error: float) -> float:
    return min(max(error, _SMALLEST), _LARGEST)

"""The report's pictures, as PNG files in memory."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from export.validation.compare import InputResult
from export.validation.deviation import Tolerances
from export.validation.rows import LayerSummary

# A logarithmic axis has no place for an error of 0 or of infinity.
_SMALLEST, _LARGEST = 1e-10, 1e2
_PASSED, _FAILED, _ACCUMULATED = "#4878a8", "#c03028", "#e0a030"


def errors_by_layer(layers: Sequence[LayerSummary], allowed: Tolerances) -> bytes:
    """Both errors of every layer against their tolerances."""
    figure = Figure(figsize=(max(8.0, 1.5 + 0.17 * len(layers)), 5.0), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(layers))
    axes.bar(
        places,
        [_drawable(layer.isolated) for layer in layers],
        color=[_PASSED if layer.isolated_passed else _FAILED for layer in layers],
        label="isolated",
    )
    heard = [place for place in places if not layers[place].silent]
    axes.plot(
        heard,
        [_drawable(layers[place].accumulated) for place in heard],
        "o",
        color=_ACCUMULATED,
        markersize=4,
        label="accumulated",
    )
    axes.axhline(allowed.layer, color=_PASSED, linestyle="--", label="tolerance, isolated")
    axes.axhline(
        allowed.network, color=_ACCUMULATED, linestyle="--", label="tolerance, accumulated"
    )
    axes.set_yscale("log")
    axes.set_ylabel("relative error")
    axes.set_xlim(-1, len(layers))
    axes.set_xticks(places, [layer.name for layer in layers], rotation=90, fontsize=7)
    axes.set_title("Error by layer, against float64")
    axes.legend(ncols=2, fontsize=8)
    return _png(figure)


def logits(results: Sequence[InputResult]) -> bytes:
    """The file's logits over PyTorch's, and how their differences are distributed."""
    figure = Figure(figsize=(11.0, 4.5), layout="constrained")
    scatter, histogram = figure.subplots(1, 2)
    _scatter(scatter, results)
    _histogram(histogram, results)
    return _png(figure)


def _scatter(axes: Axes, results: Sequence[InputResult]) -> None:
    for result in results:
        theirs, ours = np.ravel(result.logits.theirs), np.ravel(result.logits.ours)
        axes.plot(theirs, ours, ".", markersize=4, alpha=0.6, label=f"{result.kind} inputs")
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="#888888", linewidth=0.8, label="equal")
    axes.set_xlabel("logit, PyTorch float64")
    axes.set_ylabel("logit, exported file")
    axes.set_title("Logits")
    axes.legend(fontsize=8)


def _histogram(axes: Axes, results: Sequence[InputResult]) -> None:
    differences = [np.ravel(r.logits.ours) - np.ravel(r.logits.theirs) for r in results]
    finite = [values[np.isfinite(values)] for values in differences]
    labels = [f"{result.kind} inputs" for result in results]
    axes.hist(finite, bins=50, histtype="stepfilled", alpha=0.6, label=labels)
    axes.set_yscale("log")
    axes.set_xlabel("exported file - PyTorch float64")
    axes.set_ylabel("logits")
    axes.set_title("Differences of the logits")
    axes.legend(fontsize=8)


def _drawable(error: float) -> float:
    return min(max(error, _SMALLEST), _LARGEST)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()

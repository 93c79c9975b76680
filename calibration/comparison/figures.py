"""What the reports' pictures share: colours, the axis of layers, and PNG files in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calibration.comparison.deviation import Array

PASSED, FAILED, ACCUMULATED = "#4878a8", "#c03028", "#e0a030"


def layer_axes(names: Sequence[str], height: float = 5.0) -> tuple[Figure, Axes]:
    """A figure as wide as its layers need, each at its place 0, 1, ... of the horizontal axis."""
    figure = Figure(figsize=(max(8.0, 1.5 + 0.17 * len(names)), height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(-1, len(names))
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    return figure, axes


def logits_figure(series: Mapping[str, tuple[Array, Array]], theirs: str, ours: str) -> bytes:
    """Logits over those that they are compared with, and how their differences are distributed.

    Args:
        series: by label, the reference's logits and the others, both flat.
        theirs, ours: what the reference and the others are called.
    """
    figure = Figure(figsize=(11.0, 4.5), layout="constrained")
    scatter, histogram = figure.subplots(1, 2)
    _scatter(scatter, series, theirs, ours)
    _histogram(histogram, series, f"{ours} - {theirs}")
    return png(figure)


def _scatter(axes: Axes, series: Mapping[str, tuple[Array, Array]], theirs: str, ours: str) -> None:
    for label, (reference, values) in series.items():
        axes.plot(reference, values, ".", markersize=4, alpha=0.6, label=label)
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="#888888", linewidth=0.8, label="equal")
    axes.set_xlabel(f"logit, {theirs}")
    axes.set_ylabel(f"logit, {ours}")
    axes.set_title("Logits")
    axes.legend(fontsize=8)


def _histogram(axes: Axes, series: Mapping[str, tuple[Array, Array]], title: str) -> None:
    differences = [values - reference for reference, values in series.values()]
    finite = [values[np.isfinite(values)] for values in differences]
    axes.hist(finite, bins=50, histtype="stepfilled", alpha=0.6, label=list(series))
    axes.set_yscale("log")
    axes.set_xlabel(title)
    axes.set_ylabel("logits")
    axes.set_title("Differences of the logits")
    axes.legend(fontsize=8)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()

"""The results as rows of text, for the terminal and for the report alike."""

from __future__ import annotations

import math

from calibration.comparison.deviation import Deviation
from calibration.comparison.text import FAIL, PASS, some
from calibration.validation.compare import BEYOND_ROUNDING, LEAST_ISOLATED, LayerResult, Result

LAYER_HEADER = (
    "layer",
    "operator",
    "output",
    f"isolated (>= {LEAST_ISOLATED:g} dB)",
    f"rounding alone (-{BEYOND_ROUNDING:g} dB)",
    "accumulated",
    "at the ends",
    "",
)
"""The titles of `layer_cells`."""


def layer_cells(result: LayerResult) -> tuple[str, ...]:
    """One layer; the figures are in decibels, except for the share of codes at the ends of their
    range."""
    quantized = result.isolated is not None
    return (
        result.layer.name,
        result.layer.operator,
        "x".join(map(str, result.shape)),
        _decibels(result.isolated) if result.isolated is not None else "float",
        _decibels(result.rounding) if quantized else "",
        "all zero" if result.silent else _decibels(result.accumulated),
        f"{result.saturation:.3%}" if quantized else "",
        PASS if result.passed else FAIL,
    )


def logits_header(result: Result) -> tuple[str, ...]:
    """The titles of `logits_cells`."""
    return (
        "images",
        "logits, dB",
        "same top-1",
        f"share (>= {result.least_agreement:.0%})",
        "top-1, float",
        "top-1, int8",
        "",
    )


def logits_cells(result: Result) -> tuple[str, ...]:
    """The comparison end to end."""
    return (
        str(len(result.float_logits)),
        _decibels(result.logits),
        str(result.same_top1),
        f"{result.agreement:.2%}",
        _share(result.top1(result.float_logits)),
        _share(result.top1(result.integer_logits)),
        PASS if result.agreement >= result.least_agreement else FAIL,
    )


def summary(result: Result) -> list[str]:
    """The worst layer by itself and the logits, in a line each, and what is broken, if anything."""
    broken = [sentence for sentence in verdicts(result) if sentence.startswith(FAIL)]
    return [
        *_worst(result),
        f"logits  {_decibels(result.logits)} dB; same best class for "
        f"{result.same_top1} of {len(result.float_logits)}",
        *broken,
    ]


def _worst(result: Result) -> list[str]:
    worst = next(iter(result.worst_first), None)
    if worst is None or worst.isolated is None:
        return ["no layer computes in integers"]
    return [
        f"worst of {len(result.layers)} layers  {_decibels(worst.isolated)} dB (rounding alone "
        f"{_decibels(worst.rounding)}): {worst.layer.name}"
    ]


def verdicts(result: Result) -> list[str]:
    """What was found, in a few sentences: what is broken where, or that all is well."""
    worst = result.worst_first
    faulty = [layer.layer.name for layer in worst if layer.faulty]
    coarse = [layer.layer.name for layer in worst if layer.coarse and not layer.faulty]
    sentences = []
    if faulty:
        sentences.append(
            f"{FAIL}: {len(faulty)} of {len(worst)} layers lose more than the rounding of their "
            f"input, weights and output explains, so their weights, scales or kernels are wrong: "
            f"{some(faulty)}"
        )
    if coarse:
        sentences.append(
            f"{FAIL}: {len(coarse)} of {len(worst)} layers keep less than {LEAST_ISOLATED:g} dB, "
            f"their ranges being too wide or too narrow: {some(coarse)}: calibrate on other images "
            "or with another METHOD, or keep them in float with KEEP_FLOAT"
        )
    if result.agreement < result.least_agreement:
        sentences.append(
            f"{FAIL}: the best class is the same for {result.agreement:.1%} of the images, less "
            f"than {result.least_agreement:.0%}"
        )
    if not sentences:
        sentences.append(
            f"{PASS}: all {len(worst)} layers are as exact as their rounding allows, and the best "
            f"class is the same for {result.agreement:.1%} of the images"
        )
    return sentences


def _decibels(deviation: Deviation) -> str:
    value = deviation.decibels
    if math.isfinite(value):
        return f"{value:.1f}"
    return "exact" if value > 0 else "nothing"


def _share(value: float | None) -> str:
    return "no labels" if value is None else f"{value:.2%}"

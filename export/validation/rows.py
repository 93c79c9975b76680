"""The results as rows of text, for the terminal and for the report alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calibration.comparison.deviation import Tolerances
from calibration.comparison.text import FAIL, PASS, some
from export.validation.compare import InputResult, LayerResult


def tolerances(results: Sequence[InputResult]) -> Tolerances:
    """The tolerances that all results of a comparison were judged by."""
    return results[0].logits.tolerances


def layer_header(allowed: Tolerances) -> tuple[str, ...]:
    """The titles of a layer's cells."""
    return (
        "layer",
        "operator",
        "output",
        f"isolated (<= {allowed.layer:.0e})",
        f"accumulated (<= {allowed.network:.0e})",
        "PyTorch float32",
        "max abs",
        "",
    )


def logits_header(allowed: Tolerances) -> tuple[str, ...]:
    """The titles of the end-to-end comparison's cells."""
    return (
        "inputs",
        "count",
        f"to float64 (<= {allowed.network:.0e})",
        f"to float32 (<= {allowed.network:.0e})",
        "PyTorch float32",
        "max abs",
        "same top-1",
        "",
    )


@dataclass(frozen=True)
class LayerSummary:
    """One layer: the worst over the kinds of input."""

    name: str
    operator: str
    shape: str
    isolated: float
    accumulated: float
    pytorch: float
    largest: float
    silent: bool
    isolated_passed: bool
    passed: bool

    def cells(self) -> tuple[str, ...]:
        """The cells as text, one for each title of `layer_header`."""
        return (
            self.name,
            self.operator,
            self.shape,
            number(self.isolated),
            "all zero" if self.silent and self.passed else number(self.accumulated),
            number(self.pytorch),
            number(self.largest),
            PASS if self.passed else FAIL,
        )


def number(value: float) -> str:
    """The number with two digits; errors need no more."""
    return f"{value:.1e}" if value else "0"


def summarise(results: Sequence[InputResult]) -> list[LayerSummary]:
    """One summary for each layer, in the file's order."""
    return [_summary(layers) for layers in zip(*(r.layers for r in results), strict=True)]


def _summary(layers: Sequence[LayerResult]) -> LayerSummary:
    node = layers[0].node
    return LayerSummary(
        name=node.name,
        operator=node.operator + ("" if node.activation == "none" else f"+{node.activation}"),
        shape="x".join(map(str, layers[0].shape)),
        isolated=max(layer.isolated.scaled for layer in layers),
        accumulated=max(layer.accumulated.relative for layer in layers),
        pytorch=max(layer.pytorch.relative for layer in layers),
        largest=max(layer.accumulated.largest for layer in layers),
        silent=all(layer.silent for layer in layers),
        isolated_passed=all(layer.isolated_passed for layer in layers),
        passed=all(layer.passed for layer in layers),
    )


def logits_cells(result: InputResult) -> tuple[str, ...]:
    """The end-to-end comparison as text, one for each title of `logits_header`."""
    logits = result.logits
    return (
        result.kind,
        str(logits.count),
        number(logits.exact.relative),
        number(logits.pytorch.relative),
        number(logits.pytorch_exact.relative),
        number(logits.exact.largest),
        f"{logits.same_top1}/{logits.count}",
        PASS if logits.passed else FAIL,
    )


def summary(results: Sequence[InputResult]) -> list[str]:
    """The worst layer by itself and the logits, in a line each, and what is broken, if anything."""
    layers, allowed = summarise(results), tolerances(results)
    logits = max(result.logits.exact.relative for result in results)
    same = sum(result.logits.same_top1 for result in results)
    count = sum(result.logits.count for result in results)
    broken = [sentence for sentence in verdicts(results) if sentence.startswith(FAIL)]
    return [
        *_worst(layers, allowed),
        f"logits  {number(logits)} of their norm (<= {allowed.network:.0e}); "
        f"same best class for {same} of {count}",
        *broken,
    ]


def _worst(layers: Sequence[LayerSummary], allowed: Tolerances) -> list[str]:
    if not layers:
        return []
    worst = max(layers, key=lambda layer: layer.isolated)
    return [
        f"worst of {len(layers)} layers  {number(worst.isolated)} of its terms "
        f"(<= {allowed.layer:.0e}): {worst.name}"
    ]


def verdicts(results: Sequence[InputResult]) -> list[str]:
    """What was found, in a few sentences: what is broken where, or that all is well."""
    layers, allowed = summarise(results), tolerances(results)
    wrong = [layer.name for layer in layers if not layer.isolated_passed]
    carried = [layer.name for layer in layers if layer.isolated_passed and not layer.passed]
    kinds = [result.kind for result in results if not result.logits.passed]
    silent = [layer.name for layer in layers if layer.silent]
    sentences = []
    if wrong:
        sentences.append(
            f"{FAIL}: {len(wrong)} of {len(layers)} layers break their tolerance on the very "
            f"inputs that they were given: {some(wrong)}"
        )
    if carried:
        sentences.append(
            f"{FAIL}: {len(carried)} layers are right by themselves but carry on more error than "
            f"{allowed.network:.0e}: {some(carried)}"
        )
    if kinds:
        sentences.append(
            f"{FAIL}: the logits differ by more than {allowed.network:.0e} on "
            f"{' and '.join(kinds)} inputs"
        )
    if not sentences:
        sentences.append(f"{PASS}: the logits and all {len(layers)} layers are within tolerance")
    uncompared = results[0].uncompared
    if uncompared:
        sentences.append(
            f"{len(uncompared)} other layers are taken apart in this file and were compared end to "
            f"end only: {some(uncompared)}"
        )
    if silent:
        sentences.append(
            f"{len(silent)} layers answer 0 to all of these inputs, as fresh weights do: only the "
            f"isolated figure, taken before the activation, says anything about {some(silent)}"
        )
    return sentences

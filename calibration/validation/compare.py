"""Runs the integer model beside the float one, and sums up what its codes lose."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from calibration.comparison.deviation import Deviation
from calibration.validation.codes import saturated
from calibration.validation.layers import Layer
from calibration.validation.pair import Pair

Float32 = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

# One image's activations in a GhostNet at 224x224 are 42 MB, and those of both models are held.
_BATCH = 4

LEAST_ISOLATED = 10.0
"""The least signal-to-noise ratio of a layer by itself, in dB. Where the root mean square of the
values is only one step between codes, rounding them leaves 10 log10(12) = 10.8 dB, and most of them
share two or three codes."""

BEYOND_ROUNDING = 0.5
"""How far, in dB, a layer by itself may lie below what rounding alone leaves; 0.5 dB are an eighth
more noise. All 76 layers of the shipped GhostShiftAddNet lie within 0.02 dB of it: a right layer
differs only in how it rounds a value halfway between two codes."""


@dataclass
class LayerResult:
    """One layer over all images.

    Attributes:
        isolated: the deviation of a quantized layer that is given codes of the float model's own
            values. It shows what the rounding of input, weights and output, and the ends of their
            ranges, cost by themselves. None for a layer in float.
        accumulated: the deviation of the layer within the integer model.
        rounding: the deviation of the float layer when its input, adder weights and output are
            rounded to the same codes; the isolated figure is compared with it.
        saturated, elements: the number of codes at an end of the range, and of all codes.
        shape: the output's, channels first, without the batch.
    """

    layer: Layer
    isolated: Deviation | None
    rounding: Deviation = field(default_factory=Deviation)
    accumulated: Deviation = field(default_factory=Deviation)
    saturated: int = 0
    elements: int = 0
    shape: tuple[int, ...] = ()

    @property
    def saturation(self) -> float:
        """The share of codes at an end of the range."""
        return self.saturated / self.elements if self.elements else 0.0

    @property
    def silent(self) -> bool:
        """Whether the float layer answers 0 to every image, so that there is no ratio to it."""
        return self.accumulated.squared_reference == 0.0

    @property
    def faulty(self) -> bool:
        """Whether it loses more than rounding does, so that its weights, its scales or its kernel
        are wrong."""
        if self.isolated is None or self.silent:
            return False
        return self.isolated.decibels < self.rounding.decibels - BEYOND_ROUNDING

    @property
    def coarse(self) -> bool:
        """Whether it has too few codes for its values, even if they are computed rightly."""
        if self.isolated is None or self.silent:
            return False
        return self.isolated.decibels < LEAST_ISOLATED

    @property
    def passed(self) -> bool:
        return not (self.faulty or self.coarse)


@dataclass
class Result:
    """Everything over all images.

    Attributes:
        least_agreement: the share of images whose best class is to be the same.
        logits: the deviation of the integer model's logits from the float model's.
        float_logits, integer_logits: the logits themselves, float32 [images, classes].
        classes: the true ones, int64 [images], where they are known.
    """

    layers: list[LayerResult]
    least_agreement: float
    logits: Deviation
    float_logits: Float32
    integer_logits: Float32
    classes: Classes | None

    @property
    def same_top1(self) -> int:
        """Images whose best class is the same."""
        return int((self.float_logits.argmax(1) == self.integer_logits.argmax(1)).sum())

    @property
    def agreement(self) -> float:
        """The share of such images."""
        return self.same_top1 / len(self.float_logits)

    @property
    def passed(self) -> bool:
        """Whether every floor is kept."""
        enough = self.agreement >= self.least_agreement
        return enough and all(layer.passed for layer in self.layers)

    @property
    def worst_first(self) -> list[LayerResult]:
        """The layers that fail, the other quantized ones, then those in float; each worst first."""
        return sorted(self.layers, key=_badness)

    def top1(self, logits: Float32) -> float | None:
        """The share of images whose best class is the true one; None where none is known."""
        if self.classes is None:
            return None
        return float((logits.argmax(1) == self.classes).mean())


def _badness(result: LayerResult) -> tuple[bool, bool, float]:
    if result.isolated is None:
        return True, True, result.accumulated.decibels
    beyond = result.isolated.decibels - result.rounding.decibels
    return result.passed, False, beyond if result.faulty else result.isolated.decibels


def compare(
    pair: Pair, images: Float32, least_agreement: float, classes: Classes | None = None
) -> Result:
    """Runs all images, float32 [N, C, H, W], with a progress bar. Raises ModelError."""
    layers = [LayerResult(layer, Deviation() if layer.quantized else None) for layer in pair.layers]
    logits: list[tuple[Float32, Float32]] = []
    with tqdm(total=len(images), desc="validate", unit="image", disable=None, leave=False) as bar:
        for first in range(0, len(images), _BATCH):
            batch = images[first : first + _BATCH]
            logits.append((pair.float_logits(batch), pair.integer_logits(batch)))
            _add_layers(layers, pair, batch)
            bar.update(len(batch))
    ours, theirs = (np.concatenate(part) for part in zip(*logits, strict=True))
    deviation = Deviation()
    deviation.add(theirs, ours)
    return Result(layers, least_agreement, deviation, ours, theirs, classes)


def _add_layers(results: list[LayerResult], pair: Pair, batch: Float32) -> None:
    values = pair.float_values(batch)
    outputs, isolated = pair.layer_outputs(batch), pair.isolated_outputs(values)
    rounded = pair.rounded_outputs(values)
    for result in results:
        layer = result.layer
        result.shape = values[layer.value].shape[1:]
        if result.isolated is None:
            result.accumulated.add(outputs[layer.output], values[layer.value])
            continue
        codes = outputs[layer.output]
        result.accumulated.add(pair.dequantized(codes, layer.value), values[layer.value])
        alone = pair.dequantized(isolated[layer.isolated], layer.value)
        result.isolated.add(alone, values[layer.value])
        result.rounding.add(rounded[layer.isolated], values[layer.value])
        result.saturated += saturated(codes, pair.grids[layer.value])
        result.elements += codes.size

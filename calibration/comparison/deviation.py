"""How far an output is from its float64 reference, summed up over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Tolerances:
    """What a precision is allowed.

    Attributes:
        layer: the largest error of a layer that is given the reference's own inputs, relative to
            its terms' magnitude: what the operators' contract asks of every implementation.
        network: the largest relative error of what has come through the whole network: logits, and
            layers on the way.
    """

    layer: float
    network: float


FLOAT32 = Tolerances(layer=2e-6, network=1e-5)

FIXED_POINT = Tolerances(layer=2e-6, network=1e-4)
"""A network that rounds the inputs of its layers down to multiples of 2^-16 (DeepShift), in
float32: a value that lies at a multiple falls on either side of it, by float32's last digit, and is
a whole step off. PyTorch's own float32 run of a ResNet-20 is 2e-5 from its float64 run."""

FLOAT16 = Tolerances(layer=2e-3, network=1e-2)
"""Every tensor of the shipped GhostShiftAddNet and of a GhostNet rounded to float16, and nothing
else, moves layers by up to 1.5e-3 and logits by up to 7e-4, on random and on real images. TensorRT
may also sum in float16 within a Conv or a Gemm: hence a factor of seven."""


@dataclass
class Deviation:
    """Sums over all elements seen so far; outputs that are not finite make every error infinite."""

    squared_error: float = 0.0
    squared_reference: float = 0.0
    squared_magnitude: float = 0.0
    largest: float = 0.0

    def add(self, output: Array, reference: Array, magnitude: Array | None = None) -> None:
        """Adds a batch. `magnitude` bounds the sums behind `reference`, which it is by default.

        Raises ValueError where the shapes differ.
        """
        if output.shape != reference.shape:
            raise ValueError(
                f"output of shape {list(output.shape)}, reference of {list(reference.shape)}"
            )
        exact = np.ravel(reference.astype(np.float64))
        error = np.ravel(output - exact.reshape(output.shape))
        squared_reference = _squares(exact)
        squared_error = _squares(error)
        largest = float(max(error.max(initial=0.0), -error.min(initial=0.0)))
        if not math.isfinite(squared_error):
            squared_error = largest = math.inf
        self.squared_error += squared_error
        self.squared_reference += squared_reference
        self.squared_magnitude += (
            squared_reference
            if magnitude is None
            else float(np.square(magnitude).sum(dtype=np.float64))
        )
        self.largest = max(self.largest, largest)

    @property
    def relative(self) -> float:
        """||output - reference|| / ||reference||."""
        return _ratio(self.squared_error, self.squared_reference)

    @property
    def decibels(self) -> float:
        """The signal-to-noise ratio, 10 log10(||reference||^2 / ||output - reference||^2). It is
        infinite where there is no error, and minus infinity where there is nothing but error."""
        relative = self.relative
        if relative == 0.0:
            return math.inf
        return -20 * math.log10(relative) if math.isfinite(relative) else -math.inf

    @property
    def scaled(self) -> float:
        """||output - reference|| / ||magnitude||."""
        return _ratio(self.squared_error, self.squared_magnitude)


def _squares(values: Array) -> float:
    """The sum of squares of a flat float64 array.

    np.dot is not used: BLAS wakes threads of its own for it, which compete with the engine's.
    """
    return float(np.einsum("i,i->", values, values))


def _ratio(squared_error: float, squared_norm: float) -> float:
    if squared_error == 0.0:
        return 0.0
    return math.sqrt(squared_error / squared_norm) if squared_norm else math.inf

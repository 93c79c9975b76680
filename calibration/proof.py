"""Runs the integer model beside the float one before it gets its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from calibration.comparison.deviation import Deviation
from calibration.comparison.onnxruntime_backend import OnnxRuntimeBackend
from runtime.core.errors import ModelError
from runtime.core.metadata import Metadata
from runtime.core.session import OUTPUT

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """How the integer model's outputs compare with the float one's.

    Attributes:
        images: how many were run.
        same: for how many of them the largest output is the same one.
        decibels: the signal-to-noise ratio of the outputs.
    """

    images: int
    same: int
    decibels: float

    @property
    def line(self) -> str:
        """In words, for the terminal."""
        share = 100 * self.same / self.images
        return (
            f"{share:.1f} % of {self.images} images have the float model's class; "
            f"outputs {self.decibels:.1f} dB"
        )


def prove(
    float_model: onnx.ModelProto,
    integer_model: bytes,
    metadata: Metadata,
    batches: Iterable[Float32],
    library: str | None = None,
) -> Agreement:
    """Runs both models on batches float32 [N, C, H, W], of which there is one at least.

    Raises ModelError where the integer model does not load or run, or gives something else than as
    many finite numbers as the float one.
    """
    backend = OnnxRuntimeBackend(metadata, library)
    reference = backend.load(float_model.SerializeToString())
    try:
        integer = backend.load(integer_model)
        images = same = 0
        deviation = Deviation()
        for batch in batches:
            expected, given = reference(batch)[OUTPUT], integer(batch)[OUTPUT]
            if given.shape != expected.shape or not np.isfinite(given).all():
                shapes = f"{list(expected.shape)} finite numbers, got {list(given.shape)}"
                raise ModelError(f"expected {shapes} or others that are not finite")
            deviation.add(given, expected)
            alike = given.argmax(1) == expected.argmax(1)
            images += len(batch)
            same += int(alike.reshape(len(batch), -1).all(1).sum())
    except ModelError as error:
        raise ModelError(
            f"the integer model that was made of it does not run: {error}; keep the nodes that "
            "this names in float, with KEEP_FLOAT=node,..., and report it"
        ) from error
    return Agreement(images, same, deviation.decibels)

"""What runs the exported file: one of several engines, behind the same few methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from calibration.comparison.deviation import Tolerances
from runtime.core.errors import ModelError
from runtime.core.metadata import Metadata
from runtime.core.session import INPUT, OUTPUT

Float32 = npt.NDArray[np.float32]


class Runner(Protocol):
    """A loaded model, from images [N, C, H, W] to all of its outputs by name."""

    def __call__(self, images: Float32) -> Mapping[str, Float32]: ...


class Backend(ABC):
    """An engine that loads models from memory.

    Attributes:
        tolerances: what its precision is allowed.
        library: path of the library with our operators, None where none is needed.
        packages: the engine's Python packages, whose versions a report tells.
    """

    tolerances: Tolerances
    library: str | None
    packages: tuple[str, ...]

    @abstractmethod
    def load(self, content: bytes) -> Runner:
        """Loads the ONNX model in `content`. Raises ModelError; so does the runner, when called."""

    def facts(self) -> dict[str, str]:
        """What a report tells about the engine, beside its library."""
        return {}


BackendFactory = Callable[[Metadata, str | None], Backend]
"""Makes a backend for a model with this metadata, and the library that was named, if one was."""


def check_names(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raises ModelError unless the tensors are called what the exporter calls them."""
    if list(inputs) != [INPUT]:
        raise ModelError(f"the inputs are not [{INPUT!r}]: export the model again")
    if OUTPUT not in outputs:
        raise ModelError(
            f"the outputs are {list(outputs)}: only a model that gives {OUTPUT!r} can be compared; "
            "leave out a softmax or sigmoid at its end, or export the model again"
        )

"""The interface that every backend fills: a loaded model that turns images into predictions."""

from abc import ABC, abstractmethod
from typing import Iterable, List, NamedTuple, Sequence

import numpy as np
from PIL import Image

from runtime.core.arrays import FloatArray
from runtime.core.errors import DataError, ModelError
from runtime.core.images import Picture, as_image
from runtime.core.metadata import Metadata
from runtime.core.preprocess import batch

INPUT, OUTPUT = "input", "logits"
"""The names that the exporter gives a model's tensors."""


class Prediction(NamedTuple):
    """One class of a result: its name, its index, and its softmax probability in [0, 1]."""

    label: str
    class_index: int
    probability: float


class Session(ABC):
    """A model ready to run. Backends derive from it and give `_execute`."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata

    def run(self, images: FloatArray) -> FloatArray:
        """Computes the logits, float32 [N, classes], of preprocessed images, float32 [N, 3, H, W].

        Raises ModelError when the shape is not the model's, when the backend fails, or when the
        logits are not finite or their number is not that of the labels.
        """
        expected = self.metadata.input_size
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ModelError(
                "input of shape {} where [N, {}, {}, {}] is expected".format(
                    list(images.shape), *expected
                )
            )
        logits = self._execute(np.ascontiguousarray(images, dtype=np.float32))
        shape = (images.shape[0], len(self.metadata.labels))
        if logits.shape != shape:
            raise ModelError(
                "logits of shape {} where {} images and {} labels ask for {}".format(
                    list(logits.shape), shape[0], shape[1], list(shape)
                )
            )
        if not np.isfinite(logits).all():
            raise ModelError("the model's output is not finite")
        return logits

    def classify(self, images: Iterable[Picture], top_k: int = 5) -> List[List[Prediction]]:
        """The `top_k` most probable classes of each image, best first (all classes, if fewer).

        An image is Pillow's, of any size and mode, or a NumPy array of RGB pixels, uint8 [H, W, 3].
        Pillow's is decoded where it was only opened, and its EXIF orientation is applied.

        Raises DataError for anything else, and for a `top_k` below 1; ModelError when the network
        fails.
        """
        if not isinstance(top_k, (int, np.integer)) or top_k < 1:
            raise DataError("top_k is {!r} where a positive integer is due".format(top_k))
        prepared = self.prepare(images)
        if not len(prepared):
            return []
        return [top(row, self.metadata.labels, top_k) for row in self.run(prepared)]

    def prepare(self, images: Iterable[Picture]) -> FloatArray:
        """Images, as `classify` takes them, as this model's input, float32 [N, 3, H, W]."""
        single = isinstance(images, (Image.Image, str)) or getattr(images, "ndim", 4) != 4
        if single or not isinstance(images, Iterable):
            raise DataError(
                "{} where a list of images is due: [image]".format(type(images).__name__)
            )
        return batch([as_image(image) for image in images], self.metadata)

    def warm_up(self) -> None:
        """Runs a black image once, so that an error that only a run can show comes up while
        loading."""
        try:
            blank = np.zeros((1,) + self.metadata.input_size, dtype=np.float32)
        except MemoryError:
            raise ModelError(
                "not enough memory for an input of {}x{} pixels".format(
                    *self.metadata.input_size[1:]
                )
            ) from None
        self.run(blank)

    def close(self) -> None:  # noqa: B027 - a backend whose memory Python frees has nothing to do
        """Gives back what the engine holds; the session cannot run any more. May be repeated."""

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _execute(self, images: FloatArray) -> FloatArray:
        """The engine's logits of contiguous float32 [N, 3, H, W]; ModelError when it fails."""


def top(logits: FloatArray, labels: Sequence[str], count: int) -> List[Prediction]:
    """The `count` classes with the largest of `logits`, [classes]; equal ones in class order."""
    probabilities = softmax(logits)
    best = np.argsort(-logits, kind="stable")[:count]
    return [Prediction(labels[i], int(i), float(probabilities[i])) for i in best]


def softmax(logits: FloatArray) -> FloatArray:
    """exp(x) / sum(exp(x)) over the last axis, shifted by the maximum so that nothing overflows."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)

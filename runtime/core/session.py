"""The interface that every backend fills: a loaded model that turns arrays into arrays, and images
into predictions where its outputs hold classes."""

from abc import ABC, abstractmethod
from typing import Dict, Iterable, List, Mapping, NamedTuple, Sequence, Union, overload

import numpy as np
from PIL import Image

from runtime.core.arrays import AnyArray, FloatArray
from runtime.core.errors import DataError, ModelError
from runtime.core.images import Picture, as_image
from runtime.core.metadata import LOGIT, LOGITS, PROBABILITY, Classes, Metadata
from runtime.core.preprocess import batch
from runtime.core.tensors import Tensor, blank, fitted

INPUT, OUTPUT = "input", "logits"
"""The names that the exporter gives a model's tensors."""


class Prediction(NamedTuple):
    """One class of a result: its name, its index, and its probability in [0, 1]."""

    label: str
    class_index: int
    probability: float


class Session(ABC):
    """A model ready to run: `inputs` and `outputs` are its tensors in the file's order.

    Backends derive from it and give `_execute`.
    """

    def __init__(
        self, metadata: Metadata, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> None:
        self.metadata = metadata
        self.inputs = (_image(inputs, metadata),) if metadata.takes_images else tuple(inputs)
        self.outputs = tuple(outputs)
        names = [tensor.name for tensor in outputs]
        if metadata.classes is not None and metadata.classes.output not in names:
            raise ModelError(
                "outputs {} where an output {!r} with classes is expected".format(
                    names, metadata.classes.output
                )
            )

    @overload
    def run(self, inputs: FloatArray) -> FloatArray: ...

    @overload
    def run(self, inputs: Mapping[str, AnyArray]) -> Dict[str, AnyArray]: ...

    def run(
        self, inputs: Union[Mapping[str, AnyArray], FloatArray]
    ) -> Union[Dict[str, AnyArray], FloatArray]:
        """Every output by name, from an array for every input by name.

        One array alone is preprocessed images, float32 [N, C, H, W], or whatever else the model's
        only input takes, and gives the classes' scores, float32 [N, classes]: what the model holds
        of them, or, where it has one value for two classes, that value as a score of the second one
        beside one of the first (0 beside a logit, 1 - p beside a probability p).

        Raises DataError for one array where that is not enough; ModelError for an input that is
        missing, unknown, or of another shape or type, when the backend fails, when the classes'
        values are not finite, or when their number is not that of the labels.
        """
        if isinstance(inputs, Mapping):
            return self._run(inputs)
        classes = self._classes()
        if len(self.inputs) != 1:
            raise DataError(
                "one array where the inputs are {}: give them by name".format(
                    [tensor.name for tensor in self.inputs]
                )
            )
        return scores(self._run({self.inputs[0].name: inputs})[classes.output], classes.values)

    def scores(self, outputs: Mapping[str, AnyArray]) -> FloatArray:
        """The classes' scores, float32 [N, classes], of the outputs that `run` gave by name."""
        classes = self._classes()
        return scores(outputs[classes.output], classes.values)

    def _run(self, given: Mapping[str, AnyArray]) -> Dict[str, AnyArray]:
        ready = fitted(given, self.inputs)
        outputs = self._execute(ready)
        if self.metadata.classes is not None:
            count = next(iter(ready.values())).shape[0]
            self._check_classes(outputs[self.metadata.classes.output], count)
        return outputs

    def _check_classes(self, values: AnyArray, count: int) -> None:
        labels, kind = len(self.metadata.labels), self._classes().values
        single = kind in (LOGIT, PROBABILITY)
        allowed = [(count,), (count, 1)] if single else [(count, labels)]
        if values.shape not in allowed:
            raise ModelError(
                "{} of shape {} where {} inputs and {} labels ask for {}".format(
                    kind, list(values.shape), count, labels, list(allowed[-1])
                )
            )
        if not np.isfinite(values).all():
            raise ModelError("the model's output is not finite")

    def _classes(self) -> Classes:
        """Which output holds classes. Raises DataError where none does."""
        if self.metadata.classes is None:
            raise DataError(
                "the model has no output with classes: give it arrays by name, of {}".format(
                    "; ".join(map(str, self.inputs))
                )
            )
        return self.metadata.classes

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
        return [self.best(row, top_k) for row in self.run(prepared)]

    def best(self, scores_of_one: FloatArray, top_k: int) -> List[Prediction]:
        """The `top_k` most probable classes by the scores, [classes], that `run` gave."""
        return top(scores_of_one, self.metadata.labels, top_k, self._classes().values)

    def prepare(self, images: Iterable[Picture]) -> FloatArray:
        """Images, as `classify` takes them, as this model's input, float32 [N, 3, H, W]."""
        if not self.metadata.takes_images:
            raise DataError(
                "the model takes no images: give it arrays by name, of {}".format(
                    "; ".join(map(str, self.inputs))
                )
            )
        single = isinstance(images, (Image.Image, str)) or getattr(images, "ndim", 4) != 4
        if single or not isinstance(images, Iterable):
            raise DataError(
                "{} where a list of images is due: [image]".format(type(images).__name__)
            )
        return batch([as_image(image) for image in images], self.metadata)

    def warm_up(self) -> None:
        """Runs zeros once, so that an error that only a run can show comes up while
        loading."""
        try:
            zeros = blank(self.inputs)
        except (MemoryError, ValueError):  # ValueError: more than NumPy can number
            raise ModelError(
                "not enough memory for the inputs {}".format("; ".join(map(str, self.inputs)))
            ) from None
        self._run(zeros)

    def close(self) -> None:  # noqa: B027 - a backend whose memory Python frees has nothing to do
        """Gives back what the engine holds; the session cannot run any more. May be repeated."""

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _execute(self, inputs: Dict[str, AnyArray]) -> Dict[str, AnyArray]:
        """The engine's outputs by name, of contiguous inputs as `inputs` says; ModelError when it
        fails."""


def _image(inputs: Sequence[Tensor], metadata: Metadata) -> Tensor:
    """The input of a model of images, with the size that its metadata gives."""
    size = metadata.input_size
    if len(inputs) != 1:
        raise ModelError(
            "inputs {} where one image is expected".format([tensor.name for tensor in inputs])
        )
    tensor = inputs[0]
    if len(tensor.shape) != 4 or any(
        isinstance(extent, int) and extent != due for extent, due in zip(tensor.shape[1:], size)
    ):
        raise ModelError(
            "the input is {} where the metadata shiftadd.input_size is {}".format(
                tensor, list(size)
            )
        )
    return tensor._replace(shape=tensor.shape[:1] + size)


def scores(values: AnyArray, kind: str) -> FloatArray:
    """Values of one kind of `metadata.VALUES` as float32 [N, classes], the larger the likelier."""
    values = np.asarray(values, dtype=np.float32)
    if kind in (LOGIT, PROBABILITY):
        second = values.reshape(-1)
        first = np.zeros_like(second) if kind == LOGIT else 1 - second
        return np.stack([first, second], axis=1)
    return values


def top(
    scores_of_one: FloatArray, labels: Sequence[str], count: int, kind: str = LOGITS
) -> List[Prediction]:
    """The `count` classes with the largest scores, [classes]; equal ones in class order.

    The scores are probabilities where `kind`, of `metadata.VALUES`, says so; else the softmax makes
    them, which for the scores of one logit is its sigmoid.
    """
    logits = kind in (LOGITS, LOGIT)
    probabilities = softmax(scores_of_one) if logits else scores_of_one
    best = np.argsort(-scores_of_one, kind="stable")[:count]
    return [Prediction(labels[i], int(i), float(probabilities[i])) for i in best]


def softmax(logits: FloatArray) -> FloatArray:
    """exp(x) / sum(exp(x)) over the last axis, shifted by the maximum so that nothing overflows."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)

"""The images that a model is calibrated on: a part of a folder or a zip, evenly spread over it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from runtime.console.commandline import complain, remark_skipped
from runtime.core.errors import DataError
from runtime.core.image_sets import image_set
from runtime.core.metadata import Metadata
from runtime.core.preprocess import preprocess
from runtime.core.selection import subset

Float32 = npt.NDArray[np.float32]


class Samples:
    """At most `count` images of the folder or the zip at `path`, at any depth. Labels are ignored.

    What is left out, as no image, is counted on stderr.

    Raises DataError where there is nothing at `path`, or no image in it.

    Attributes:
        bad: images that could not be read, and were left out, so far.
        used: images that were, so far.
    """

    def __init__(self, path: Path, count: int) -> None:
        self._images = image_set(path)
        remark_skipped(self._images)
        names = self._images.names
        self._chosen = [names[i] for i in subset(len(names), count)]
        self._digest = hashlib.sha256()
        self._readable: list[str] = []
        self.bad = 0
        self.used = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of the names, sizes and decoded pixels of the images that were used, in
        order."""
        return self._digest.hexdigest()

    def batches(self, metadata: Metadata, size: int) -> Iterator[Float32]:
        """All images in order, once, prepared for the model: float32 [N, 3, H, W], N up to `size`.

        An image that cannot be read is named on stderr and left out. Raises DataError at the end
        where none could.
        """
        batch = []
        with tqdm(self._chosen, "calibrate", unit="image", disable=None, leave=False) as bar:
            for name in bar:
                try:
                    batch.append(self._prepared(name, metadata))
                except DataError as error:
                    self.bad += 1
                    bar.clear()
                    complain(str(error))
                if len(batch) == size:
                    yield np.stack(batch)
                    batch = []
        if batch:
            yield np.stack(batch)
        if not self.used:
            raise DataError(f"{self._images.path}: none of the {self.bad} images could be read")

    def again(self, metadata: Metadata, size: int) -> Iterator[Float32]:
        """The batches that `batches` gave, once more; nothing is counted or said a second time."""
        with tqdm(self._readable, "compare", unit="image", disable=None, leave=False) as bar:
            for names in _batched(bar, size):
                yield np.stack([preprocess(self._images.open(name), metadata) for name in names])

    def _prepared(self, name: str, metadata: Metadata) -> Float32:
        image = self._images.open(name)
        try:
            prepared = preprocess(image, metadata)
        except DataError as error:
            raise DataError(f"{self._images.path}/{name}: {error}") from error
        self._readable.append(name)
        self._digest.update(
            f"{name}\0{image.width}x{image.height}\0".encode(errors="surrogateescape")
        )
        self._digest.update(image.tobytes())
        self.used += 1
        return prepared


def _batched(names: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of up to `size` names."""
    rest = iter(names)
    while batch := list(islice(rest, size)):
        yield batch

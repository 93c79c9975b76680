"""The images that a model is calibrated on, prepared and in batches of one size."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Callable, Iterator, List, Sequence, Tuple

import numpy as np
from PIL import Image

from runtime.console.progress import Progress
from runtime.core.arrays import FloatArray
from runtime.core.errors import DataError
from runtime.core.images import ImageFolder, list_images, open_image
from runtime.core.metadata import Metadata
from runtime.core.preprocess import preprocess
from runtime.evaluate import subset

# TensorRT's histograms begin with the first batch's extremes: a larger one bins more finely. This
# one is 19 MB at 224x224.
_LARGEST_BATCH = 32
_DECODERS = 4

# A name, and what opens it.
Found = Tuple[str, Callable[[], Image.Image]]


def read(path: str, metadata: Metadata, samples: int) -> FloatArray:
    """Prepared images, float32 [batches, N, 3, H, W], N up to 32.

    They are `samples` of those in the folder, at whatever depth, or in the zip, at class_name/file,
    evenly spread; a few less where they would not fill batches of one size, which TensorRT wants.
    All are held at once, 0.6 MB each at 224x224, so that a build does not begin that a damaged
    image would end. Raises DataError for one, and where there is no image.
    """
    found = _in_folder(path) if os.path.isdir(path) else _in_zip(path)
    count = min(samples, len(found))
    batches = -(-count // _LARGEST_BATCH)
    chosen = subset(len(found), count // batches * batches)
    images = np.empty((len(chosen),) + tuple(metadata.input_size), np.float32)
    with Progress("reading images", len(chosen), "image") as progress:
        for i, image in enumerate(_prepared(found, chosen, metadata)):
            images[i] = image
            progress.advance()
    return images.reshape((batches, -1) + images.shape[1:])


def _prepared(
    found: Sequence[Found], chosen: Sequence[int], metadata: Metadata
) -> Iterator[FloatArray]:
    """Those of the images that are chosen, in order, decoded in threads ahead."""

    def prepare(i: int) -> FloatArray:
        name, opener = found[i]
        image = opener()
        try:
            return preprocess(image, metadata)
        except DataError as error:
            raise DataError("{}: {}".format(name, error)) from error

    pool = ThreadPoolExecutor(_DECODERS)
    waiting = [pool.submit(prepare, i) for i in chosen]
    try:
        for future in waiting:
            yield future.result()
    finally:
        # Behind one that cannot be read nobody waits for the others.
        for future in waiting:
            future.cancel()
        pool.shutdown()


def _in_folder(path: str) -> List[Found]:
    return [(file, partial(open_image, file, file)) for file in list_images(path)]


def _in_zip(path: str) -> List[Found]:
    data = ImageFolder(path)
    return [(name, partial(data.open, i)) for i, (name, _) in enumerate(data.samples)]

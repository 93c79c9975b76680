"""The images that a model is calibrated on, prepared and in batches of one size."""

from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, Sequence, Tuple

import numpy as np

from runtime.console.progress import Progress
from runtime.core.arrays import FloatArray
from runtime.core.errors import DataError
from runtime.core.metadata import Metadata
from runtime.core.preprocess import preprocess
from runtime.core.selection import Opener, find_images, subset

# TensorRT's histograms begin with the first batch's extremes: a larger one bins more finely. This
# one is 19 MB at 224x224.
_LARGEST_BATCH = 32
_DECODERS = 4

# A name, and what opens it.
Found = Tuple[str, Opener]


def read(path: str, metadata: Metadata, samples: int) -> FloatArray:
    """Prepared images, float32 [batches, N, 3, H, W], N up to 32.

    They are `samples` of those in the folder, at whatever depth, or in the zip, at class_name/file,
    evenly spread; a few less where they would not fill batches of one size, which TensorRT wants.
    All are held at once, 0.6 MB each at 224x224, so that a build does not begin that a damaged
    image would end. Raises DataError for one, and where there is no image.
    """
    found = find_images(path)
    count = min(samples, len(found))
    batches = -(-count // _LARGEST_BATCH)
    chosen = subset(len(found), count // batches * batches)
    images = np.empty((len(chosen),) + tuple(metadata.input_size), np.float32)
    with Progress("reading images", len(chosen), "image") as progress:
        for i, image in enumerate(_prepared(path, found, chosen, metadata)):
            images[i] = image
            progress.advance()
    return images.reshape((batches, -1) + images.shape[1:])


def _prepared(
    path: str, found: Sequence[Found], chosen: Sequence[int], metadata: Metadata
) -> Iterator[FloatArray]:
    """Those of the images that are chosen, in order, decoded in threads ahead."""

    def prepare(i: int) -> FloatArray:
        name, opener = found[i]
        image = opener()
        try:
            return preprocess(image, metadata)
        except DataError as error:
            raise DataError("{}/{}: {}".format(path, name, error)) from error

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

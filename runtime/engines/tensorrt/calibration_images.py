"""The images that a model is calibrated on, prepared and in batches of one size."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Callable, Iterator, List, Sequence, Tuple

import numpy as np
from PIL import Image

from runtime.core.arrays import FloatArray
from runtime.core.errors import DataError
from runtime.core.image_sets import ImageSet
from runtime.core.metadata import Metadata
from runtime.core.preprocess import preprocess
from runtime.core.selection import subset

# The first batch's extremes set the bins of TensorRT's histograms, so a larger batch gives better
# ones. A batch of this size is 19 MB at 224x224.
_LARGEST_BATCH = 32
_DECODERS = 4

# A name, which begins with the path of the data set, and what opens the image.
Found = Tuple[str, Callable[[], Image.Image]]


def choose(images: ImageSet, samples: int) -> List[List[Found]]:
    """About `samples` of `images`.

    They come in batches of one size, as TensorRT wants them, of up to 32. They are evenly spread
    over all images, and a few less than asked for where those would not fill the batches.
    """
    count = min(samples, len(images.names))
    batches = -(-count // _LARGEST_BATCH)
    size = count // batches
    chosen = [images.names[i] for i in subset(len(images.names), size * batches)]
    named: List[Found] = [
        ("{}/{}".format(images.path, name), partial(images.open, name)) for name in chosen
    ]
    return [named[first : first + size] for first in range(0, len(named), size)]


def prepare(
    chosen: Sequence[Sequence[Found]], metadata: Metadata, advance: Callable[[], None]
) -> FloatArray:
    """The images that `choose` gave, prepared: float32 [batches, N, 3, H, W].

    All are held at once, 0.6 MB each at 224x224, so that no build begins that a damaged image would
    end. `advance` is called after each image. Raises DataError for one that cannot be read.
    """
    batches, size = len(chosen), len(chosen[0])
    images = np.empty((batches * size,) + tuple(metadata.input_size), np.float32)
    for i, image in enumerate(_prepared([each for batch in chosen for each in batch], metadata)):
        images[i] = image
        advance()
    return images.reshape((batches, size) + images.shape[1:])


def _prepared(chosen: Sequence[Found], metadata: Metadata) -> Iterator[FloatArray]:
    """The images in order, decoded in threads ahead."""

    def prepare_one(name: str, opener: Callable[[], Image.Image]) -> FloatArray:
        image = opener()
        try:
            return preprocess(image, metadata)
        except DataError as error:
            raise DataError("{}: {}".format(name, error)) from error

    pool = ThreadPoolExecutor(_DECODERS)
    waiting = [pool.submit(prepare_one, name, opener) for name, opener in chosen]
    try:
        for future in waiting:
            yield future.result()
    finally:
        # After an image that cannot be read nobody waits for the rest.
        for future in waiting:
            future.cancel()
        pool.shutdown()

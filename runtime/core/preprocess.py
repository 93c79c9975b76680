"""From an image to a network's input, as the model's metadata says."""

from typing import Sequence, Tuple

import numpy as np
from PIL import Image

from runtime.core.arrays import FloatArray
from runtime.core.errors import DataError
from runtime.core.metadata import Metadata
from runtime.core.pixels import upright_rgb

# This is PIL.Image.BILINEAR; newer type stubs have it only under a name that Pillow 8.4 lacks.
BILINEAR = 2


def preprocess(image: Image.Image, metadata: Metadata) -> FloatArray:
    """One image of any size and mode as float32 [C, H, W], contiguous: RGB, or grey where C is 1.

    The image is made upright first, and RGB, as `upright_rgb` says.

    The shorter side is resized to `metadata.resize` pixels (bilinear, antialiased: Pillow widens
    the filter when it shrinks), H x W is cropped from the centre (an odd pixel is left at the right
    and the bottom), the channels are scaled to [0, 1], then `mean` is subtracted and `std` is
    divided by.

    Raises DataError as `upright_rgb` does, and for an image so elongated that its
    resized form would not fit into memory.
    """
    channels, height, width = metadata.input_size
    image = upright_rgb(image)
    if channels == 1:
        image = image.convert("L")
    image = centre_crop(resize_shorter(image, metadata.resize), height, width)
    mean, std = np.array([metadata.mean, metadata.std], dtype=np.float32)
    pixels = np.asarray(image, dtype=np.float32).reshape(height, width, channels) / np.float32(255)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1), dtype=np.float32)


def batch(images: Sequence[Image.Image], metadata: Metadata) -> FloatArray:
    """Several images, or none, as one float32 [N, C, H, W]."""
    prepared = np.empty((len(images),) + tuple(metadata.input_size), np.float32)
    for i, image in enumerate(images):
        prepared[i] = preprocess(image, metadata)
    return prepared


def resize_shorter(image: Image.Image, length: int) -> Image.Image:
    """`image` with its shorter side `length` pixels long and its longer side in proportion."""
    size = _resized(image.size, length)
    # The pixels of a very elongated picture would grow with the square of its aspect ratio.
    if Image.MAX_IMAGE_PIXELS is not None and size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        raise DataError("too elongated for this model: {}x{} pixels".format(*image.size))
    return image if size == image.size else image.resize(size, BILINEAR)


def centre_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """The `height` x `width` pixels in the middle of an image that is at least as large."""
    left = (image.width - width) // 2
    top = (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _resized(size: Tuple[int, int], length: int) -> Tuple[int, int]:
    width, height = size
    if width <= height:
        return length, height * length // width
    return width * length // height, length

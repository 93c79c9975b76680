"""Pictures: what is taken for one, and how a file becomes one.

Needs NumPy and Pillow only, so that training, calibration and the device read images alike.
"""

from typing import IO, Union

import numpy as np
from PIL import Image, UnidentifiedImageError

from runtime.core import memory, png
from runtime.core.arrays import PixelArray
from runtime.core.errors import DataError, reason
from runtime.core.files import open_regular
from runtime.core.pixels import shrinking, upright_rgb

Picture = Union[Image.Image, PixelArray]
"""What the runtime accepts as an image: one of Pillow's, of any size and mode, or RGB pixels, uint8
[H, W, 3]."""
# Ghostscript would draw it: a picture that is looked at runs nothing.
_RUN_BY_OTHERS = ("EPS",)
# What Pillow says, from 8 to 12, of a PNG whose text or colour profile would unpack to too much.
_TOO_MUCH_TEXT = ("MAX_TEXT_", "Decompressed Data Too Large")


def open_image(source: Union[str, IO[bytes]], name: str) -> Image.Image:
    """Decodes an image completely, as `upright_rgb` says. `name` stands in the messages.

    Decoding takes at most `memory.BUDGET` bytes, and the result as many bytes as it has pixels four
    times over. A JPEG that is shrunk for its size is decoded at a half, a quarter or an eighth.

    Raises DataError, in one line, when the file is missing or no regular one, is no image, is
    truncated, is too large to be decoded safely (`memory.BUDGET`, and Pillow's limit on
    decompression bombs), or has no RGB reading.
    """
    try:
        if not isinstance(source, str):
            return _decoded(source)
        with open_regular(source) as file:
            return _decoded(file)
    except DataError as error:
        raise DataError("{}: {}".format(name, error)) from error
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError("{}: refused: more than {} pixels".format(name, limit)) from None
    except UnidentifiedImageError:
        raise DataError("{}: not an image".format(name)) from None
    # Pillow's parsers raise exceptions of many types for a damaged file: see `pixels`.
    except Exception as error:
        raise DataError("{}: cannot read the image: {}".format(name, reason(error))) from error


def load_decoders() -> None:
    """Has Pillow load its decoders of the usual formats, which the first image else waits for."""
    Image.preinit()


def as_image(picture: Picture) -> Image.Image:
    """`picture` as Pillow has it, as `upright_rgb` says.

    Raises DataError when it is neither of the kinds of a Picture, or as `upright_rgb` does.
    """
    if isinstance(picture, Image.Image):
        return upright_rgb(picture)
    if not isinstance(picture, np.ndarray):
        found = type(picture).__name__
    elif (
        picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size
    ):
        found = "array of {} {}".format(picture.dtype, list(picture.shape))
    else:
        return Image.fromarray(np.ascontiguousarray(picture))
    raise DataError("{} where a PIL image or RGB pixels, uint8 [H, W, 3], are due".format(found))


def _decoded(file: IO[bytes]) -> Image.Image:
    try:
        return _decoded_as_it_is(file)
    except (DataError, ValueError) as error:
        if not any(words in str(error) for words in _TOO_MUCH_TEXT):
            raise
        return _decoded_as_it_is(png.without_text(file))


def _decoded_as_it_is(file: IO[bytes]) -> Image.Image:
    with Image.open(file) as image:
        if image.format in _RUN_BY_OTHERS:
            raise DataError("Pillow has another program run {} files".format(image.format))
        factor = shrinking(image.size)
        # Decoders of other formats than JPEG take no notice.
        image.draft(None, (image.width // factor, image.height // factor))
        with memory.decoding(image):
            rgb = upright_rgb(image)
            if rgb is not image:
                image.close()  # gives back its pixels, while the room for them is held
            return rgb

"""From a picture of Pillow's, in any mode and lying on any side, to upright 8-bit RGB pixels."""

import math
import os
from typing import Callable, Tuple

import numpy as np
from PIL import Image

from runtime.core.errors import DataError, reason

LARGEST_WHOLE = 24 * 10**6
"""The most pixels that a picture keeps. A larger one is shrunk by a whole number, which no network
sees: the largest takes a shorter side of 4096 pixels."""
GREY_BITS = "SHIFTADD_GREY_BITS"
"""The environment variable that says how many bits of a grey picture of 16 bits hold the picture:
cameras store 10, 12 or 14, and nothing in the file tells."""
_BITS = tuple(str(bits) for bits in range(8, 17))
_BAND = 1 << 20  # pixels that are converted at once
_ORIENTATION, _UPRIGHT = 0x0112, 1  # EXIF 2.3
# What brings a picture with an orientation upright. These are Pillow's constants, which newer type
# stubs have only under names that Pillow 8.4 lacks: FLIP_LEFT_RIGHT, ROTATE_180, FLIP_TOP_BOTTOM,
# TRANSPOSE, ROTATE_270, TRANSVERSE, ROTATE_90.
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_SAMPLE_FORMAT, _UNSIGNED = 339, 1  # TIFF 6.0, section 19
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
# Pillow turns premultiplied colours into nothing but their plain form.
_PLAIN = {"La": "LA", "RGBa": "RGBA"}

Converter = Callable[[Image.Image], Image.Image]


def upright_rgb(image: Image.Image) -> Image.Image:
    """`image` as 8-bit RGB, upright, with at most `LARGEST_WHOLE` pixels.

    The EXIF orientation is applied. Transparent pixels are laid over white, since most such
    pictures are drawn for white pages. Grey of more than 8 bits keeps its upper 8: those of 16, or
    of as many as `GREY_BITS` says, where the picture tells so or no value is larger, and of 32
    else. Where all values of a 32-bit picture fit into 8 bits, they are taken as they are. What is
    RGB and upright is returned as it is. The memory that this takes besides `image` is that of the
    result, twice.

    Raises DataError for a picture without pixels, one that cannot be decoded, and a mode that has
    no RGB reading.
    """
    _load(image)
    if not image.width or not image.height:
        raise DataError("no pixels: {}x{}".format(*image.size))
    factor = shrinking(image.size)
    if factor > 1 or image.mode != "RGB" or "transparency" in image.info:
        rgb = _in_bands(image, _converter(image), factor)
    else:
        rgb = image
    turn = _TURNS.get(_orientation(image))
    if turn is None:
        return rgb
    rgb = rgb.transpose(turn)  # type: ignore[arg-type]
    # The orientation is applied, and must not be found again.
    rgb.info = {}
    return rgb


def shrinking(size: Tuple[int, int]) -> int:
    """By which whole number a picture of `size` is shrunk in both directions: 1 for most."""
    return max(1, math.ceil(math.sqrt(size[0] * size[1] / LARGEST_WHOLE)))


def _load(image: Image.Image) -> None:
    """Decodes a picture that was only opened."""
    try:
        image.load()
    # Pillow's decoders raise exceptions of many types for a damaged file: OSError, SyntaxError,
    # ValueError, IndexError, struct.error, zlib.error, MemoryError ...
    except Exception as error:
        raise DataError("cannot read the image: {}".format(reason(error))) from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, of a decoded picture: a TIFF is turned in decoding."""
    try:
        found: int = image.getexif().get(_ORIENTATION, _UPRIGHT)
    # The pixels can be used even where the parser fails on a damaged EXIF block.
    except Exception:
        return _UPRIGHT
    return found


def _in_bands(image: Image.Image, convert: Converter, factor: int) -> Image.Image:
    """`image`, converted and shrunk band by band: a conversion holds some pictures at once."""
    width, height = image.size
    rows = max(1, _BAND // (width * factor)) * factor
    if rows >= height and factor == 1:
        return convert(image)
    result = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, rows):
        band = convert(image.crop((0, top, width, min(top + rows, height))))
        result.paste(band.reduce(factor), (0, top // factor))
    return result


def _converter(image: Image.Image) -> Converter:
    """What makes RGB of parts of `image`."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _deep_converter(image)
    if image.mode == "F":
        raise DataError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return _over_white
    return _plain


def _plain(image: Image.Image) -> Image.Image:
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise DataError(
            "mode {} cannot become RGB: {}".format(image.mode, reason(error))
        ) from error


def _over_white(image: Image.Image) -> Image.Image:
    plain = _PLAIN.get(image.mode)
    rgba = (image.convert(plain) if plain else image).convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _deep_converter(image: Image.Image) -> Converter:
    """What makes RGB of grey pixels with more than 8 bits.

    Pillow's own conversion clips at 255, which makes all of a photo white except its blackest
    parts.
    """
    lowest, shift, mask = _range(image)
    transparent = image.info.get("transparency")

    def convert(band: Image.Image) -> Image.Image:
        values = np.asarray(band).astype(np.int64) & mask
        grey = np.minimum((values - lowest) >> shift, 255).astype(np.uint8)
        if isinstance(transparent, int):
            grey[values == transparent] = 255
        return Image.fromarray(grey).convert("RGB")

    return convert


def _range(image: Image.Image) -> Tuple[int, int, int]:
    """How the values of a deep grey picture become bytes: which is black, by how many bits they are
    shifted, and the mask that they are read through before."""
    # A PNG has 16 bits at most; older versions of Pillow widen them to 32.
    if image.mode != "I" or image.format == "PNG":
        return 0, _sixteen_bits() - 8, 0xFFFF
    lowest, highest = (int(value) for value in image.getextrema())  # type: ignore[arg-type]
    if lowest < 0:
        # Pillow reads the upper half of the unsigned numbers as negative ones.
        return (0, 24, 0xFFFFFFFF) if _unsigned(image) else (-(2**31), 24, -1)
    if highest <= 0xFF:
        return 0, 0, -1
    if highest <= 0xFFFF:
        return 0, _sixteen_bits() - 8, -1
    return 0, 24 if _unsigned(image) else 23, -1


def _sixteen_bits() -> int:
    """How many bits of grey values of 16 bits count: 16, or what the environment says."""
    text = os.environ.get(GREY_BITS, "16")
    if text not in _BITS:
        raise DataError("{} is {!r}, not one of {}".format(GREY_BITS, text, " ".join(_BITS)))
    return int(text)


def _unsigned(image: Image.Image) -> bool:
    """Whether a TIFF says that its numbers are unsigned."""
    return getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT) == (_UNSIGNED,)

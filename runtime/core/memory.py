"""The memory that pictures take while they are decoded."""

import contextlib
import ctypes
import threading
from typing import Iterator, Optional, Sequence

from PIL import Image

from runtime.core.errors import DataError

BUDGET = 450 * 10**6
"""The most bytes that decoding takes at a time, in all threads: what a board of 4 GB can spare."""
# The most bytes a pixel that decoders were seen to take, by format; others take the picture alone.
_FOOTPRINTS = {"AVIF": 10, "HEIF": 20, "JPEG2000": 20, "WEBP": 17}
_WORTH_TRIMMING = 64 << 20
_ONE_BYTE = ("1", "L", "P")


class Budget:
    """Bytes that several threads share."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._taken = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Waits until there are `count` bytes, at most all, and holds them during the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken + count <= self._total)
            self._taken += count
        try:
            yield
        finally:
            with self._changed:
                self._taken -= count
                self._changed.notify_all()


_decoding = Budget(BUDGET)


@contextlib.contextmanager
def decoding(image: Image.Image) -> Iterator[None]:
    """Room for decoding `image`, an opened file, during the block; waits for other threads' ends.

    Raises DataError where there will never be enough.
    """
    needed = _footprint(image)
    if needed > BUDGET:
        raise DataError(
            "too large: {}x{} pixels of {} take {} MB while they are decoded, and {} is the most: "
            "shrink the picture".format(
                image.width, image.height, image.format, needed // 10**6, BUDGET // 10**6
            )
        )
    with _decoding.take(needed):
        yield
        if needed > _WORTH_TRIMMING:
            _trim()


def _trim() -> None:
    """Has the C library give back what was freed: of large pictures in several threads it would
    else keep as many as there are threads. A C library other than glibc has no such function."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _footprint(image: Image.Image) -> int:
    """The bytes that decoding `image` takes at most."""
    pixels = image.width * image.height
    bytes_each = 1 if image.mode in _ONE_BYTE else 4
    if image.format == "TIFF":
        bytes_each *= 2  # a packed one may be a single strip, which is unpacked whole
    return pixels * max(bytes_each, _FOOTPRINTS.get(image.format or "", 0)) + _coefficients(image)


def _coefficients(image: Image.Image) -> int:
    """The bytes of a progressive JPEG's coefficients, which its decoder holds until the last scan:
    two for each sample of the whole picture, of which `image` may be a draft."""
    layers: Optional[Sequence[Sequence[int]]] = getattr(image, "layer", None)
    if not layers or "progressive" not in image.info:
        return 0
    across, down = (max(layer[i] for layer in layers) for i in (1, 2))
    samples = sum(layer[1] * layer[2] for layer in layers) / (across * down)
    scale = getattr(image, "decoderconfig", None) or (1,)
    return int(2 * samples * image.width * image.height * scale[0] ** 2)

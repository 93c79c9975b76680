"""The images of CIFAR-10's archives: the one for Python and the binary one.

Both hold five batches for training and one for testing, of 10,000 images each. The archive may be
anybody's: nothing of it is run, and nothing is unpacked to the disk.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from device_scripts.host.cifar10 import pickled
from runtime.core.errors import DataError, reason
from runtime.core.files import open_regular

CLASSES = 10
SIDE = 32
_IMAGES = 10_000  # in a batch
_PIXELS = 3 * SIDE * SIDE
_TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST = ("test_batch",)
# A batch is 31 MB, and an archive six of them and two small files.
_LARGEST_BATCH = 64 << 20
_LARGEST_ARCHIVE = 8 * _LARGEST_BATCH

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Images:
    """Pixels, uint8 [N, 3, 32, 32] in RGB order, and classes, uint8 [N]."""

    pixels: Pixels
    classes: Pixels


def read(archive: Path) -> tuple[Images, Images]:
    """The images for training and those for testing, in the archive's order.

    Raises DataError, naming the archive, where it is none of CIFAR-10's two, or not whole.
    """
    try:
        with open_regular(archive) as file, tarfile.open(fileobj=file, mode="r|*") as packed:
            batches = dict(_batches(packed))
        missing = [name for name in (*_TRAINING, *_TEST) if name not in batches]
        if missing:
            raise DataError(f"no {', '.join(missing)} in it: not CIFAR-10's archive, or half of it")
        training, test = (
            _joined([batches[name] for name in names]) for names in (_TRAINING, _TEST)
        )
    except DataError as error:
        raise DataError(f"{archive}: {error}") from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{archive}: cannot read the archive: {reason(error)}") from error
    return training, test


def _batches(packed: tarfile.TarFile) -> Iterator[tuple[str, Images]]:
    """The batches of an archive by their names, which are those of their files without an end."""
    seen = set()
    size = 0
    for member in packed:
        size += member.size
        if size > _LARGEST_ARCHIVE:
            raise DataError("larger than CIFAR-10's archives are")
        name = member.name.rpartition("/")[2]
        batch, dot, end = name.partition(".")
        if batch not in (*_TRAINING, *_TEST) or not member.isfile() or end not in ("", "bin"):
            continue
        if batch in seen or member.size > _LARGEST_BATCH:
            raise DataError(f"{name} stands in it twice, or is too large")
        seen.add(batch)
        content = packed.extractfile(member)
        assert content is not None
        decode: Callable[[bytes], Images] = _of_binary if dot else _of_pickle
        try:
            yield batch, _checked(decode(content.read()))
        except ValueError as error:
            raise DataError(f"{name}: {reason(error)}") from error


def _of_binary(content: bytes) -> Images:
    """Of a batch whose images are a byte of class and 3,072 of pixels."""
    if len(content) % (1 + _PIXELS):
        raise ValueError(f"{len(content)} bytes are not a whole number of images")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return Images(rows[:, 1:].reshape(-1, 3, SIDE, SIDE), rows[:, 0])


def _of_pickle(content: bytes) -> Images:
    """Of a batch that is a pickled dictionary of "data", an array, and "labels", a list."""
    value = pickled.read(content)
    if not isinstance(value, dict):
        raise ValueError("no dictionary is pickled there")
    labels = value.get("labels")
    if not isinstance(labels, list) or not all(type(c) is int and 0 <= c < 256 for c in labels):
        raise ValueError("its labels are no list of classes")
    pixels = _array(value.get("data"))
    if len(pixels) != len(labels):
        raise ValueError(f"{len(labels)} labels for {len(pixels)} images")
    return Images(pixels.reshape(-1, 3, SIDE, SIDE), np.array(labels, np.uint8))


def _array(value: Any) -> Pixels:
    """An array of bytes as NumPy pickles it."""
    state = value.state if isinstance(value, pickled.Made) else None
    if not isinstance(state, tuple) or len(state) != 5:
        raise ValueError("its data is no array")
    _, shape, dtype, fortran, content = state
    if isinstance(content, pickled.Made) and content.origin == "_codecs.encode":
        content = content.arguments[0]
    if isinstance(content, str):
        content = content.encode("latin-1")
    if not isinstance(dtype, pickled.Made) or dtype.arguments[:1] not in (("u1",), ("|u1",)):
        raise ValueError("its data is no array of bytes")
    if fortran or not isinstance(content, bytes) or shape != (len(content) // _PIXELS, _PIXELS):
        raise ValueError(f"its data is not a row of {_PIXELS:,} bytes for each image")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _checked(images: Images) -> Images:
    if len(images.classes) != _IMAGES:
        raise ValueError(f"{len(images.classes):,} images, where a batch has {_IMAGES:,}")
    if images.classes.max() >= CLASSES:
        raise ValueError(f"the class {images.classes.max()}, where CIFAR-10 has 0 to {CLASSES - 1}")
    return images


def _joined(batches: list[Images]) -> Images:
    return Images(
        np.concatenate([batch.pixels for batch in batches]),
        np.concatenate([batch.classes for batch in batches]),
    )

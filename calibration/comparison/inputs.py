"""What the two networks are given: random inputs, and patches of real photographs."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from runtime.core.errors import DataError
from runtime.core.image_sets import ImageFolder, image_set
from runtime.core.images import open_image
from runtime.core.metadata import Metadata
from runtime.core.preprocess import preprocess
from runtime.core.selection import class_names, match_classes, subset

Float32 = npt.NDArray[np.float32]

# Colour photographs inside scikit-image's package: they need no download.
_SAMPLES = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "retina.jpg",
    "ihc.png",
)


def random_inputs(count: int, input_size: Sequence[int], seed: int) -> Float32:
    """Noise with the mean 0 and the deviation 1 of a normalised image: float32 [count, C, H, W]."""
    rng = np.random.default_rng(seed)
    noise: Float32 = rng.standard_normal((count, *input_size), dtype=np.float32)
    return noise


def real_inputs(sources: Sequence[str], count: int, metadata: Metadata) -> Float32:
    """Preprocessed images, float32 [N, C, H, W] with N at most `count`.

    `sources` are image files, and folders and zips of images; `count` images
    spread evenly over them are taken. Without sources, patches of sample photographs are taken.

    Raises DataError for what is missing or no image.
    """
    if not sources:
        return np.stack([preprocess(patch, metadata) for patch in sample_patches(count)])
    openers = [opener for source in sources for opener in _openers(source)]
    chosen = subset(len(openers), count)
    return np.stack([preprocess(openers[i](), metadata) for i in chosen])


def labelled_inputs(
    source: str, count: int, metadata: Metadata
) -> tuple[Float32, npt.NDArray[np.int64] | None]:
    """Images as `real_inputs` takes them from one source, and their classes, int64 [N].

    None for the classes where the source is no ImageFolder of classes that the model knows.

    Raises DataError for what is missing or no image.
    """
    folder = _labelled_folder(source, metadata)
    if folder is None:
        return real_inputs([source], count, metadata), None
    classes = match_classes(folder, metadata.labels)
    chosen = subset(len(folder), count)
    images = np.stack(
        [
            preprocess(folder.open(i), metadata)
            for i in tqdm(chosen, "read", unit="image", disable=None, leave=False)
        ]
    )
    return images, np.array([classes[folder.samples[i][1]] for i in chosen], np.int64)


def _labelled_folder(source: str, metadata: Metadata) -> ImageFolder | None:
    if not _holds_images(source):
        return None
    try:
        folder = ImageFolder(source)
    except DataError:
        return None
    return folder if set(folder.classes) <= set(class_names(metadata.labels)) else None


def sample_patches(count: int) -> list[Image.Image]:
    """`count` patches of the photographs that scikit-image's package holds.

    First come the whole photographs, then the quadrants of each, then the quadrants of these, and
    so on.
    """
    photographs = [open_image(str(path), str(path)) for path in sample_photographs()]
    patches: list[Image.Image] = []
    level = 0
    while len(patches) < count:
        for position in range(4**level):
            row, column = divmod(position, 2**level)
            patches += [_cell(photo, row, column, 2**level) for photo in photographs]
        level += 1
    return patches[:count]


def sample_photographs() -> list[Path]:
    """The photographs that scikit-image's package holds. Raises DataError where it has none."""
    # The package is only located and not imported, since importing scikit-image takes seconds.
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise DataError("no sample images: install scikit-image, or name some with --images")
    folder = Path(package.origin).parent / "data"
    found = [folder / name for name in _SAMPLES if (folder / name).is_file()]
    if not found:
        raise DataError(f"{folder}: none of scikit-image's samples; name images with --images")
    return found


def _cell(image: Image.Image, row: int, column: int, cells: int) -> Image.Image:
    """One cell of the image cut into cells x cells."""
    columns = [image.width * i // cells for i in (column, column + 1)]
    rows = [image.height * i // cells for i in (row, row + 1)]
    return image.crop((columns[0], rows[0], columns[1], rows[1]))


def _openers(source: str) -> list[Callable[[], Image.Image]]:
    if not _holds_images(source):
        return [partial(open_image, source, source)]
    images = image_set(source)
    return [partial(images.open, name) for name in images.names]


def _holds_images(source: str) -> bool:
    """Whether it is a folder or a zip, and not one image."""
    path = Path(source)
    return path.is_dir() or (path.is_file() and zipfile.is_zipfile(path))

"""Which images of a folder or a zip are taken, and what their classes are to a model."""

import os
from functools import partial
from typing import Callable, List, Optional, Sequence, Tuple, Union

from PIL import Image

from runtime.core.errors import DataError
from runtime.core.images import ImageFolder, list_images, open_image

Opener = Callable[[], Image.Image]


def find_images(path: Union[str, "os.PathLike[str]"]) -> List[Tuple[str, Opener]]:
    """The name and the opener of every image in the folder, at whatever depth, or in the zip.

    Names are relative to `path` and use "/"; a zip holds its images at class_name/file. An opener
    raises DataError where its image cannot be read.

    Raises DataError where there is nothing at `path`, or no image in it.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return [
            (_relative(file, path), partial(open_image, file, file)) for file in list_images(path)
        ]
    folder = ImageFolder(path)
    return [(name, partial(folder.open, i)) for i, (name, _) in enumerate(folder.samples)]


def _relative(file: str, folder: str) -> str:
    return os.path.relpath(file, folder).replace(os.sep, "/")


def subset(count: int, limit: Optional[int]) -> List[int]:
    """The indices of `limit` of `count` samples, evenly spread (the samples lie class by class)."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def match_classes(data: ImageFolder, labels: Sequence[str]) -> List[int]:
    """The model's class index of each of the data set's classes, by name.

    Raises DataError naming the classes that the model does not know.
    """
    index = {label: i for i, label in enumerate(labels)}
    unknown = [name for name in data.classes if name not in index]
    if unknown:
        raise DataError(
            "{}: the model does not know {} of the {} classes: {}; it knows {}".format(
                data.path, len(unknown), len(data.classes), _some(unknown), _some(labels)
            )
        )
    return [index[name] for name in data.classes]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

"""Which images of a data set are taken, and what their classes are to a model."""

from typing import List, Optional, Sequence

from runtime.core.errors import DataError
from runtime.core.image_sets import ImageFolder


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

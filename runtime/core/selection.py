"""Which images of a data set are taken, and what their classes are to a model."""

from collections import Counter
from typing import List, Optional, Sequence

from runtime.core.errors import DataError
from runtime.core.image_sets import ImageFolder


def subset(count: int, limit: Optional[int]) -> List[int]:
    """The indices of `limit` of `count` samples, evenly spread (the samples lie class by class)."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def class_names(labels: Sequence[str]) -> List[str]:
    """A name for each class that no other has: its label or, where several classes share one, the
    label and the class's index, as in "crane#134"."""
    counts = Counter(labels)
    return [
        label if counts[label] == 1 else "{}#{}".format(label, i) for i, label in enumerate(labels)
    ]


def match_classes(data: ImageFolder, labels: Sequence[str]) -> List[int]:
    """The model's class index of each of the data set's classes, by the names of `class_names`.

    Raises DataError naming the classes that the model does not know, and one that is not named
    clearly enough.
    """
    names = class_names(labels)
    index = {name: i for i, name in enumerate(names)}
    for name in data.classes:
        alike = [names[i] for i, label in enumerate(labels) if label == name]
        if len(alike) > 1:
            raise DataError(
                "{}: several classes of the model have the label {}: name the folder of each as "
                "one of {}".format(data.path, name, _some(alike))
            )
    unknown = [name for name in data.classes if name not in index]
    if unknown:
        raise DataError(
            "{}: the model does not know {} of the {} classes: {}; it knows {}: {}".format(
                data.path, len(unknown), len(data.classes), _some(unknown), _some(names),
                _remedy(data, labels),
            )
        )  # fmt: skip
    return [index[name] for name in data.classes]


def _remedy(data: ImageFolder, labels: Sequence[str]) -> str:
    """What to do about classes of other names than the model's."""
    if any(label != "class {}".format(i) for i, label in enumerate(labels)):
        return "name the folders as the model names its classes"
    given = data.path if len(data.classes) == len(labels) else "file, a name on each line"
    return (
        "nobody has named the model's classes: export it again with their names (LABELS={}, "
        "--labels)".format(given)
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

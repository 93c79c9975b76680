"""Names of classes: of the well-known data sets, of a file, or of a folder of images."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from runtime.core.errors import ShiftAddError, reason
from runtime.core.image_sets import ImageFolder

CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

KNOWN = ("imagenet", "cifar10")
"""Lists of labels that have a name."""

_IMAGENET = Path(__file__).with_name("imagenet.txt")

# A file of labels is a short list: what is larger is something else.
_LARGEST_FILE = 1 << 20


class LabelError(ShiftAddError):
    """Labels that cannot be had; one line."""


@functools.lru_cache(maxsize=1)
def imagenet() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, as torchvision has them (imagenet.LICENSE)."""
    return tuple(_IMAGENET.read_text(encoding="utf-8").splitlines())


def generic(count: int) -> tuple[str, ...]:
    """Names for classes that nobody named: "class 0" and so on."""
    return tuple(f"class {i}" for i in range(count))


def read(source: str) -> tuple[str, ...]:
    """The labels that `source` names, index = class.

    Args:
        source: "imagenet", "cifar10", a text file with a label a line, a JSON file (a list, or an
            object of labels by index), or an ImageFolder (a folder or a zip) with a folder a class.

    Raises LabelError, or DataError for an ImageFolder that cannot be read.
    """
    if source in KNOWN:
        return imagenet() if source == "imagenet" else CIFAR10
    path = Path(source)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return tuple(ImageFolder(source).classes)
    if not path.is_file():
        raise LabelError(
            f"{source}: no such file or folder of labels (known lists: {', '.join(KNOWN)})"
        )
    return _of_file(path)


def _of_file(path: Path) -> tuple[str, ...]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise LabelError(f"{path}: too large for a list of labels")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LabelError(f"{path}: cannot read the labels: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: no text in UTF-8: a label a line is expected") from error
    if path.suffix.lower() == ".json":
        return _of_json(path, text)
    labels = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not labels:
        raise LabelError(f"{path}: no labels in it")
    return labels


def _of_json(path: Path, text: str) -> tuple[str, ...]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}: not JSON") from error
    if isinstance(value, dict):
        keys = [str(i) for i in range(len(value))]
        if sorted(value) != sorted(keys):
            raise LabelError(f"{path}: its keys are not the indices 0 to {len(value) - 1}")
        value = [value[key] for key in keys]
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise LabelError(f"{path}: a list of strings, or strings by index, is expected")
    return tuple(value)

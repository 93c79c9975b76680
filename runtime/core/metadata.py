"""What a model file says about itself: the `shiftadd.*` entries of its ONNX metadata."""

import json
import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from runtime.core.errors import ModelError

CONTRACT_VERSION = 1
PREFIX = "shiftadd."
CHANNELS = (1, 3)
LOGITS, PROBABILITIES, LOGIT, PROBABILITY = "logits", "probabilities", "logit", "probability"
VALUES = (LOGITS, PROBABILITIES, LOGIT, PROBABILITY)
"""What an output that holds classes may hold: one value a class, before or behind a softmax, or one
value for two classes, before or behind a sigmoid, which speaks for the second of them."""
TARGETS = ("jetson-nano", "portable", "standard")
# An image of this many rows and columns is 200 MB of input; a damaged file may ask for more than
# the memory holds.
_LARGEST_RESIZE = 4096
NO_IMAGE = (0, 0, 0)
_NULL = "null"


class Classes(NamedTuple):
    """Which output holds classes, and what it holds of them: one of `VALUES`."""

    output: str
    values: str


class Metadata(NamedTuple):
    """The parsed entries; the keys in the file are `PREFIX` and the same names.

    `input_size` is (C, H, W) in pixels, C being 3 (RGB) or 1 (grey), `resize` the length in pixels
    that an image's shorter side is brought to before the centre crop, `mean` and `std` stand for
    the channels scaled to [0, 1].

    `classes` is None, and `labels` empty, for a model whose outputs hold no classes. Files that
    lack the entry were written when all had logits.
    """

    contract_version: int
    model: str
    target: str
    input_size: Tuple[int, int, int]
    resize: int
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    labels: Tuple[str, ...]
    checkpoint_sha256: str
    operators: Tuple[str, ...]
    classes: Optional[Classes] = Classes("logits", LOGITS)

    @property
    def takes_images(self) -> bool:
        """Whether the model's one input is an image; of another model `input_size` is (0, 0, 0)."""
        return self.input_size != NO_IMAGE

    @property
    def class_output(self) -> str:
        """The output with classes. Raises ModelError where none has."""
        if self.classes is None:
            raise ModelError("the model has no output with classes")
        return self.classes.output


_IMAGE_ENTRIES = ("input_size", "resize", "mean", "std")
_OPTIONAL = ("classes",)


def parse(properties: Dict[str, str]) -> Metadata:
    """Checks and converts the metadata of a model that names the class of an image.

    Raises ModelError as `parse_any` does, and for a model that is no such one.
    """
    metadata = parse_any(properties)
    check_classifier(metadata)
    return metadata


def check_classifier(metadata: Metadata) -> None:
    """Raises ModelError for a model that does not name the class of an image."""
    if not metadata.takes_images or metadata.classes is None:
        raise ModelError(
            "the model {}, and this needs one that names the class of an image; "
            "runtime/infer.py MODEL INPUT.npz runs any".format(
                "has no output with classes" if metadata.takes_images else "takes no images"
            )
        )


def parse_any(properties: Dict[str, str]) -> Metadata:
    """Checks and converts a model's metadata.

    A file whose entry `input_size` is null takes other inputs than one image, and needs none of the
    entries on images; one whose entry `classes` is null needs no labels.

    Raises ModelError, in one line, for a newer contract (with both versions), for entries that are
    missing (all of them named) and for one that does not fit (with its value).
    """
    entries = {
        key[len(PREFIX) :]: text for key, text in properties.items() if key.startswith(PREFIX)
    }
    # The version goes first: a newer contract may name or write its entries differently.
    version = _entry(entries, "contract_version", _version) if "contract_version" in entries else 0
    missing = [PREFIX + name for name in _required(entries) if name not in entries]
    if missing:
        raise ModelError(
            "the metadata {} {} missing: export the model with `make export MODEL=...`, "
            "which writes them".format(", ".join(missing), "is" if len(missing) == 1 else "are")
        )
    metadata = Metadata(
        contract_version=version,
        model=entries["model"],
        target=_entry(entries, "target", _target),
        checkpoint_sha256=entries["checkpoint_sha256"],
        operators=_entry(entries, "operators", _strings),
        **_image_entries(entries),
        **_class_entries(entries),
    )
    if metadata.takes_images:
        _check_image(metadata)
    _check_classes(metadata)
    return metadata


def _required(entries: Dict[str, str]) -> List[str]:
    """The names of the entries that a file with `entries` must have."""
    absent = set(_OPTIONAL)
    if entries.get("input_size") == _NULL:
        absent.update(name for name in _IMAGE_ENTRIES if name != "input_size")
    if entries.get("classes") == _NULL:
        absent.add("labels")
    return [name for name in Metadata._fields if name not in absent]


def _image_entries(entries: Dict[str, str]) -> Dict[str, Any]:
    if entries["input_size"] == _NULL:
        return {"input_size": NO_IMAGE, "resize": 0, "mean": (), "std": ()}
    return {
        "input_size": _entry(entries, "input_size", _input_size),
        "resize": _entry(entries, "resize", _resize),
        "mean": _entry(entries, "mean", _numbers),
        "std": _entry(entries, "std", _positive_numbers),
    }


def _class_entries(entries: Dict[str, str]) -> Dict[str, Any]:
    if entries.get("classes") == _NULL:
        return {"classes": None, "labels": ()}
    found = {"labels": _entry(entries, "labels", _strings)}
    if "classes" in entries:
        found["classes"] = _entry(entries, "classes", _classes)
    return found


def _check_classes(metadata: Metadata) -> None:
    if metadata.classes is None:
        return
    if not metadata.labels:
        raise ModelError("the metadata shiftadd.labels is empty")
    if metadata.classes.values in (LOGIT, PROBABILITY) and len(metadata.labels) != 2:
        raise ModelError(
            "the metadata shiftadd.labels has {} names where one {} tells two classes apart".format(
                len(metadata.labels), metadata.classes.values
            )
        )


def _check_image(metadata: Metadata) -> None:
    channels, height, width = metadata.input_size
    for name, values in (("mean", metadata.mean), ("std", metadata.std)):
        if len(values) != channels:
            raise ModelError(
                "the metadata shiftadd.{} is {}: {} finite numbers are expected, one for each "
                "channel of shiftadd.input_size".format(name, list(values), channels)
            )
    if metadata.resize < max(height, width):
        raise ModelError(
            "the metadata shiftadd.resize is {}, less than the {}x{} crop of "
            "shiftadd.input_size".format(metadata.resize, height, width)
        )


def _entry(entries: Dict[str, str], name: str, convert: Callable[[str], Any]) -> Any:
    text = entries[name]
    try:
        return convert(text)
    # An integer that no float can hold raises OverflowError, endlessly nested JSON RecursionError.
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        # The message of the json module is about columns; what matters is that the text is not
        # JSON.
        why = "not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise ModelError(
            "the metadata {}{} is {!r}: {}".format(PREFIX, name, shown, why)
        ) from error


def _version(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError("a version from 1 on is expected")
    if int(text) > CONTRACT_VERSION:
        raise ModelError(
            "made for version {} of the operator contract, this runtime knows version {}: "
            "update the runtime and the operator library, or export the model again".format(
                int(text), CONTRACT_VERSION
            )
        )
    return int(text)


def _target(text: str) -> str:
    if text not in TARGETS:
        raise ValueError("one of {} is expected".format(", ".join(TARGETS)))
    return text


def _positive(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("positive integers are expected")
    return value


def _resize(text: str) -> int:
    value = _positive(json.loads(text))
    if value > _LARGEST_RESIZE:
        raise ValueError("at most {} pixels are expected".format(_LARGEST_RESIZE))
    return value


def _input_size(text: str) -> Tuple[int, int, int]:
    value = json.loads(text)
    if not isinstance(value, list) or len(value) != 3 or _positive(value[0]) not in CHANNELS:
        raise ValueError("[3, height, width] is expected, or [1, height, width] for grey images")
    return value[0], _positive(value[1]), _positive(value[2])


def _numbers(text: str) -> Tuple[float, ...]:
    value = json.loads(text)
    if not isinstance(value, list) or len(value) not in CHANNELS or not all(map(_is_number, value)):
        raise ValueError("three finite numbers are expected, or one for grey images")
    return tuple(float(number) for number in value)


def _positive_numbers(text: str) -> Tuple[float, ...]:
    value = _numbers(text)
    if min(value) <= 0:
        raise ValueError("three positive numbers are expected, or one for grey images")
    return value


def _classes(text: str) -> Classes:
    value = json.loads(text)
    if not isinstance(value, dict) or set(value) != set(Classes._fields):
        raise ValueError('{"output": NAME, "values": KIND} or null is expected')
    if not isinstance(value["output"], str) or value["values"] not in VALUES:
        raise ValueError("values of one of {} are expected".format(", ".join(VALUES)))
    return Classes(**value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _strings(text: str) -> Tuple[str, ...]:
    value: List[Any] = json.loads(text)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of strings is expected")
    return tuple(value)

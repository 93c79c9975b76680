"""What has to be known of a network beside its weights, and what of it no runtime would take."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import nn

from export import labels as names
from export.heads import INPUT, heads_of
from runtime.core import metadata
from runtime.core.errors import ModelError
from runtime.core.metadata import LOGIT, LOGITS


@dataclass(frozen=True)
class Spec:
    """How images become a network's input, and what its outputs stand for.

    Attributes:
        input_size: (channels, height, width) of an image, or the extents of an array.
        labels: index = class; None names the classes "class 0" and so on.
        mean, std: per channel, of pixels scaled to [0, 1]; None leaves the pixels as they are
            (0 and 1).
        resize: length in pixels that an image's shorter side is resized to before the centre crop;
            None for the longer side of the input.
        name: of the model, in its file.
        inputs: of a network with several inputs, in the order of its arguments: the extents of
            each, without the batch, by name; instead of `input_size`.
    """

    input_size: Sequence[int] = ()
    labels: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    resize: int | None = None
    name: str = "model"
    inputs: Mapping[str, Sequence[int]] | None = None


class SpecLike(Protocol):
    """What a `Spec` and an entry of the registry have in common."""

    @property
    def name(self) -> str: ...
    @property
    def input_size(self) -> Sequence[int]: ...
    @property
    def labels(self) -> Sequence[str] | None: ...
    @property
    def mean(self) -> Sequence[float] | None: ...
    @property
    def std(self) -> Sequence[float] | None: ...
    @property
    def resize(self) -> int | None: ...


@dataclass(frozen=True)
class CompleteSpec:
    """A spec with nothing left open, in Python's own numbers, that the runtime takes.

    Attributes:
        input_size: (0, 0, 0) for a network that takes other inputs than one image.
        inputs: the extents of each input, without the batch, by name.
        outputs: their names; those that are missing get numbers.
        classes: which output holds them; None where none does, and `labels` is empty.
    """

    name: str
    input_size: tuple[int, int, int]
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    outputs: tuple[str, ...] = (LOGITS,)
    classes: metadata.Classes | None = metadata.Classes(LOGITS, LOGITS)  # noqa: RUF009

    def entries(self) -> dict[str, str]:
        """What the file's metadata says of its inputs and classes, by the entries' names."""
        said: dict[str, Any] = {"input_size": None, "classes": None}
        if self.input_size != metadata.NO_IMAGE:
            images = ("input_size", "resize", "mean", "std")
            said.update({name: getattr(self, name) for name in images})
        if self.classes is not None:
            said.update(classes=self.classes._asdict(), labels=self.labels)
        return {name: json.dumps(value) for name, value in said.items()}


def complete(spec: SpecLike, module: nn.Module) -> CompleteSpec:
    """`spec` with its open entries filled in and all of them checked against `module`.

    NumPy's numbers and arrays are taken for what they hold.

    Raises ValueError, in one line, for what the runtime would refuse, for labels of outputs that
    hold no classes, and for a network whose outputs are no tensors; and whatever a network raises
    that does not run on the input size.
    """
    inputs = inputs_of(spec)
    heads = heads_of(module, inputs, spec.labels is not None)
    if spec.labels is not None and len(spec.labels) != heads.count:
        if heads.classes is None:
            raise ValueError(
                f"{len(spec.labels)} labels for a network whose outputs hold no classes: "
                f"{', '.join(heads.outputs)}"
            )
        outputs = "one output, which tells two classes apart"
        if heads.classes.values != LOGIT:
            outputs = f"{heads.count} outputs of the network"
        raise ValueError(f"{len(spec.labels)} labels for {outputs}")
    whole = checked_entries(spec, names.generic(heads.count))
    return replace(whole, outputs=heads.outputs, classes=heads.classes)


def checked_entries(spec: SpecLike, unnamed: tuple[str, ...] = ()) -> CompleteSpec:
    """`spec` with its open entries filled in, the labels by `unnamed`, and its entries checked.

    Raises ValueError, in one line, for what the runtime would refuse.
    """
    inputs = inputs_of(spec)
    labels = unnamed if spec.labels is None else _labels(spec.labels)
    shape = inputs.get(INPUT, ())
    if len(inputs) == 1 and len(shape) == 3 and shape[0] in metadata.CHANNELS:
        entries = _of_images(spec, input_size_of(spec), labels)
    else:
        _refuse_image_entries(spec, inputs)
        entries = CompleteSpec(str(spec.name), metadata.NO_IMAGE, 0, (), (), labels, inputs)
    _check_as_the_runtime_does(entries)
    return entries


def _of_images(spec: SpecLike, size: tuple[int, int, int], labels: tuple[str, ...]) -> CompleteSpec:
    return CompleteSpec(
        name=str(spec.name),
        input_size=size,
        resize=max(size[1:]) if spec.resize is None else _python(spec.resize),
        mean=(0.0,) * size[0] if spec.mean is None else _numbers(spec.mean),
        std=(1.0,) * size[0] if spec.std is None else _numbers(spec.std),
        labels=labels,
        inputs={INPUT: size},
    )


def _refuse_image_entries(spec: SpecLike, inputs: Mapping[str, tuple[int, ...]]) -> None:
    """Arrays are given to the network as they are: there is nothing that would normalise them."""
    for name in ("mean", "std", "resize"):
        if getattr(spec, name) is not None:
            shown = "; ".join(f"{key} {list(shape)}" for key, shape in inputs.items())
            raise ValueError(
                f"the spec's {name} is for one image of 1 or 3 channels, and the network takes "
                f"{shown}: leave it out"
            )


def settle(spec: SpecLike, module: nn.Module) -> CompleteSpec:
    """What an export writes of `spec`: a user's is checked against `module`, an entry of the
    registry, which a test of its own holds against its network, by itself.

    Raises ValueError, in one line, for what the runtime would refuse.
    """
    if isinstance(spec, CompleteSpec):
        return spec
    return complete(spec, module) if isinstance(spec, Spec) else checked_entries(spec)


def inputs_of(spec: SpecLike) -> dict[str, tuple[int, ...]]:
    """The inputs' shapes by name, without the batch. Raises ValueError for what are none."""
    named = getattr(spec, "inputs", None)
    if not named:
        if not isinstance(spec, Spec):
            return {INPUT: input_size_of(spec)}
        named = {INPUT: spec.input_size}
    elif not isinstance(spec, CompleteSpec) and len(spec.input_size):
        raise ValueError("the spec has both an input size and inputs: give one of them")
    return {str(name): _shape(name, given) for name, given in named.items()}


def _shape(name: object, given: Any) -> tuple[int, ...]:
    listed = isinstance(given, Iterable) and not isinstance(given, str)
    shape = [_python(value) for value in given] if listed else [given]
    whole = listed and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in shape)
    if not shape or not whole or not str(name).isidentifier():
        raise ValueError(
            f"the input size of {name!r} is {tuple(shape)}: (channels, height, width) of an image "
            "is expected, or the extents of an array, without the batch"
        )
    return tuple(shape)


def input_size_of(spec: SpecLike) -> tuple[int, int, int]:
    """(channels, height, width) as Python's integers; ValueError for anything else."""
    given = spec.input_size
    size = [_python(value) for value in given] if isinstance(given, Iterable) else [given]
    if len(size) != 3 or not all(isinstance(v, int) and v > 0 for v in size):
        raise ValueError(f"the input size is {tuple(size)}: (channels, height, width) is expected")
    return size[0], size[1], size[2]


def _python(value: Any) -> Any:
    """A NumPy or PyTorch number as Python's."""
    return value.item() if hasattr(value, "item") else value


def _numbers(values: Any) -> tuple[float, ...]:
    if isinstance(values, (int, float)) or getattr(values, "ndim", 1) == 0:
        raise ValueError(f"{values!r} is one number where one a channel is expected")
    return tuple(_python(value) for value in values)


def _labels(values: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise ValueError(f"the labels are the text {values!r}, where a list of them is expected")
    return tuple(_python(value) for value in values)


def _check_as_the_runtime_does(spec: CompleteSpec) -> None:
    """Puts the entries through the runtime's own reading: what it refuses is refused here."""
    entries = {
        "contract_version": str(metadata.CONTRACT_VERSION),
        "model": spec.name,
        "target": metadata.TARGETS[0],
        "checkpoint_sha256": "",
        "operators": "[]",
    }
    if not spec.labels:
        entries["classes"] = "null"
    try:
        for name in ("input_size", "resize", "mean", "std", "labels"):
            entries[name] = json.dumps(getattr(spec, name))
        if spec.input_size == metadata.NO_IMAGE:
            entries["input_size"] = "null"
        metadata.parse_any({metadata.PREFIX + key: value for key, value in entries.items()})
    except ModelError as error:
        message = str(error).replace("the metadata " + metadata.PREFIX, "the spec's ")
        raise ValueError(message.replace(metadata.PREFIX, "")) from error
    except TypeError as error:
        raise ValueError(f"the spec's {name} is {getattr(spec, name)!r}: {error}") from error

"""What has to be known of a network beside its weights, and what of it no runtime would take."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from export import labels as names
from runtime.core import metadata
from runtime.core.errors import ModelError


@dataclass(frozen=True)
class Spec:
    """How images become a network's input, and what its outputs stand for.

    Attributes:
        input_size: (channels, height, width).
        labels: index = class; None names the classes "class 0" and so on.
        mean, std: per channel, of pixels scaled to [0, 1]; None leaves the pixels as they are
            (0 and 1).
        resize: length in pixels that an image's shorter side is resized to before the centre crop;
            None for the longer side of the input.
        name: of the model, in its file.
    """

    input_size: Sequence[int]
    labels: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    resize: int | None = None
    name: str = "model"


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
    """A spec with nothing left open, in Python's own numbers, that the runtime takes."""

    name: str
    input_size: tuple[int, int, int]
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]


def complete(spec: SpecLike, module: nn.Module) -> CompleteSpec:
    """`spec` with its open entries filled in and all of them checked against `module`.

    NumPy's numbers and arrays are taken for what they hold.

    Raises ValueError, in one line, for what the runtime would refuse, and for a network whose
    output is not one tensor of logits [N, classes]; and whatever a network raises that does not run
    on the input size.
    """
    size = input_size_of(spec)
    classes = count_classes(module, size)
    if spec.labels is not None and len(spec.labels) != classes:
        raise ValueError(f"{len(spec.labels)} labels for {classes} outputs of the network")
    return checked_entries(spec, names.generic(classes))


def checked_entries(spec: SpecLike, unnamed: tuple[str, ...] = ()) -> CompleteSpec:
    """`spec` with its open entries filled in, the labels by `unnamed`, and its entries checked.

    Raises ValueError, in one line, for what the runtime would refuse.
    """
    size = input_size_of(spec)
    entries = CompleteSpec(
        name=str(spec.name),
        input_size=size,
        resize=max(size[1:]) if spec.resize is None else _python(spec.resize),
        mean=(0.0,) * size[0] if spec.mean is None else _numbers(spec.mean),
        std=(1.0,) * size[0] if spec.std is None else _numbers(spec.std),
        labels=unnamed if spec.labels is None else _labels(spec.labels),
    )
    _check_as_the_runtime_does(entries)
    return entries


def settle(spec: SpecLike, module: nn.Module) -> CompleteSpec:
    """What an export writes of `spec`: a user's is checked against `module`, an entry of the
    registry, which a test of its own holds against its network, by itself.

    Raises ValueError, in one line, for what the runtime would refuse.
    """
    if isinstance(spec, CompleteSpec):
        return spec
    return complete(spec, module) if isinstance(spec, Spec) else checked_entries(spec)


def count_classes(module: nn.Module, input_size: tuple[int, int, int]) -> int:
    """The number of logits that the network gives for an image of `input_size` (C, H, W).

    Raises ValueError for outputs that are not one tensor [N, classes] of logits of at least two
    classes, and whatever the network raises that does not run on [N, C, H, W].
    """
    generator = torch.Generator().manual_seed(0)
    weight = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    images = torch.randn(2, *input_size, generator=generator).to(weight)
    output = _run(module, images)
    if not isinstance(output, Tensor):
        what = f"a {type(output).__name__}"
        if isinstance(output, (list, tuple, dict)):
            what += f" of {len(output)}"
        raise ValueError(
            f"the network gives {what} where one tensor of logits is expected: wrap it in a module "
            "that returns the one to export"
        )
    if output.dim() != 2 or len(output) != len(images):
        raise ValueError(
            f"the network gives a tensor of shape {list(output.shape)} for 2 images, where logits "
            "[2, classes] are expected"
        )
    if output.shape[1] < 2:
        raise ValueError(
            "the network gives one logit, for which the runtime's softmax says 100 % always: give "
            "it an output for each of the two classes"
        )
    if _are_probabilities(output):
        raise ValueError(
            "the network gives probabilities: the runtime takes the softmax itself, so leave the "
            "last one out"
        )
    return int(output.shape[1])


def _run(module: nn.Module, images: Tensor) -> Any:
    training = [m for m in module.modules() if m.training]
    try:
        with torch.no_grad():
            return module.eval()(images)
    finally:
        for changed in training:
            changed.training = True


def _are_probabilities(output: Tensor) -> bool:
    sums = output.double().sum(1)
    return bool((output >= 0).all() and (sums - 1).abs().max() < 1e-5)


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
    try:
        for name in ("input_size", "resize", "mean", "std", "labels"):
            entries[name] = json.dumps(getattr(spec, name))
        metadata.parse({metadata.PREFIX + key: value for key, value in entries.items()})
    except ModelError as error:
        message = str(error).replace("the metadata " + metadata.PREFIX, "the spec's ")
        raise ValueError(message.replace(metadata.PREFIX, "")) from error
    except TypeError as error:
        raise ValueError(f"the spec's {name} is {getattr(spec, name)!r}: {error}") from error

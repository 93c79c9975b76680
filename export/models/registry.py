"""The models that exist: how each is built, what it reads, and where its weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from export.models import ghostnet, ghostshiftaddnet, resnet

_WEIGHTS = Path(__file__).resolve().parents[1] / "weights"

CIFAR10_LABELS = (
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


@dataclass(frozen=True)
class ModelSpec:
    """One entry of the registry.

    Attributes:
        build: makes the network with fresh weights.
        input_size: (channels, height, width).
        resize: length in pixels that an image's shorter side is resized to before the centre crop.
        mean, std: per RGB channel, of pixels scaled to [0, 1].
        labels: index = class.
        weights: the file of the shipped weights (safetensors), which is not there before the
            network is trained and published; None where none are meant to be shipped.
    """

    name: str
    summary: str
    build: Callable[[], nn.Module] = field(repr=False)
    input_size: tuple[int, int, int]
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    labels: tuple[str, ...] = field(repr=False)
    weights: Path | None


def _cifar10(
    name: str, summary: str, build: Callable[[], nn.Module], shipped: bool = True
) -> ModelSpec:
    # Mean and deviation of the 50,000 training images.
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    weights = _WEIGHTS / f"{name}.safetensors" if shipped else None
    return ModelSpec(name, summary, build, (3, 32, 32), 32, mean, std, CIFAR10_LABELS, weights)


def _imagenet(name: str, summary: str, build: Callable[[], nn.Module]) -> ModelSpec:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    labels = tuple(f"class {i}" for i in range(1000))
    return ModelSpec(name, summary, build, (3, 224, 224), 256, mean, std, labels, None)


_SPECS = (
    _cifar10(
        "ghostshiftaddnet",
        "GhostShiftAddNet for 32x32 images, CIFAR-10",
        ghostshiftaddnet.ghostshiftaddnet_cifar10,
    ),
    _cifar10(
        "ghostshiftaddnet_small",
        "GhostShiftAddNet for 32x32 images, CIFAR-10, in a third of the terms",
        ghostshiftaddnet.ghostshiftaddnet_small_cifar10,
    ),
    _imagenet(
        "ghostshiftaddnet_imagenet",
        "GhostShiftAddNet for 224x224 images, 1000 classes, untrained",
        ghostshiftaddnet.ghostshiftaddnet_imagenet,
    ),
    _cifar10(
        "ghostnet_cifar10",
        "GhostNet for 32x32 images, CIFAR-10: the multiplying baseline",
        ghostnet.ghostnet_cifar10,
    ),
    _imagenet(
        "ghostnet",
        "GhostNet 1.0x for 224x224 images, 1000 classes, untrained",
        ghostnet.ghostnet_imagenet,
    ),
    _cifar10(
        "resnet20_cifar10",
        "ResNet-20 for 32x32 images, CIFAR-10: the yardstick",
        resnet.resnet20_cifar10,
    ),
    _cifar10(
        "resnet20_shift",
        "ResNet-20 of shift layers for 32x32 images, CIFAR-10, untrained",
        resnet.resnet20_shift,
        shipped=False,
    ),
    _cifar10(
        "resnet20_adder",
        "ResNet-20 of adder layers for 32x32 images, CIFAR-10, untrained",
        resnet.resnet20_adder,
        shipped=False,
    ),
    _cifar10(
        "resnet20_shiftadd",
        "ResNet-20 of shift and adder layers for 32x32 images, CIFAR-10, untrained",
        resnet.resnet20_shiftadd,
        shipped=False,
    ),
    _cifar10(
        "teacher_cifar10",
        "A wide ResNet for 32x32 images, CIFAR-10, that the others are distilled from",
        resnet.teacher_cifar10,
    ),
)

MODELS = {spec.name: spec for spec in _SPECS}


def find_model(name: str) -> ModelSpec:
    """The entry called `name`; KeyError with the known names where there is none."""
    if name not in MODELS:
        known = ", ".join(MODELS)
        raise KeyError(f"unknown model {name!r}; known models: {known}")
    return MODELS[name]

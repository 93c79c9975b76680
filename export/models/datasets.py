"""The data sets that models are trained on: size and statistics of the images, and the classes."""

from __future__ import annotations

from dataclasses import dataclass, field

from export import labels


@dataclass(frozen=True)
class DataSet:
    """What a network has to know of the images it is trained on.

    Attributes:
        input_size: (channels, height, width) of what the network reads.
        resize: length in pixels that an image's shorter side is resized to before the centre crop.
        mean, std: per RGB channel, of pixels scaled to [0, 1].
        labels: index = class.
    """

    input_size: tuple[int, int, int]
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    labels: tuple[str, ...] = field(repr=False)


# The mean and the deviation are those of the 50,000 training images.
CIFAR10 = DataSet(
    input_size=(3, 32, 32),
    resize=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    labels=labels.CIFAR10,
)

# The mean and the deviation are those that torchvision's models were trained with.
IMAGENET = DataSet(
    input_size=(3, 224, 224),
    resize=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    labels=labels.imagenet(),
)

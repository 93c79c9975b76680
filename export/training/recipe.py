"""What a training's result depends on beside the network and the data."""

from __future__ import annotations

import dataclasses
import math

from export.models import MODELS
from export.models.datasets import CIFAR10
from runtime.core.errors import ShiftAddError


class TrainingError(ShiftAddError):
    """A training that cannot start, go on or be used; one line."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One recipe for all networks.

    Attributes:
        learning_rate: of SGD, after `warmup_epochs` of a linear rise; falls to 0 on a cosine.
        adder_rate: the adder layers' learning rate, relative to `learning_rate`.
        weight_decay: of all weights; biases and BatchNorms do not decay.
        label_smoothing: of the loss over labels (arXiv 1512.00567, section 7).
        small_size, small_share: the first `small_share` of the epochs sees images scaled down to
            `small_size` pixels.
        closing_epochs, closing_rate: epochs after those, over images that are not shifted, at a
            learning rate that falls from `closing_rate` to 0.
        cutout: the side in pixels of the square blanked in every image; 0 for none.
        averaging: how much of the average of weights each step keeps; the averaged weights are the
            result (arXiv 1803.05407, with decay). 0 takes the last weights.
        teacher: the registered network that is distilled from, by its shipped weights; "" for none.
        distillation: the teacher's share of the loss; the labels have the rest.
        temperature: what logits are divided by before teacher and student are compared
            (arXiv 1503.02531).
        held_out: training images that are kept aside to look on by.
    """

    epochs: int = 86
    batch_size: int = 512
    learning_rate: float = 0.5
    adder_rate: float = 0.8
    warmup_epochs: float = 4.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    small_size: int = 24
    small_share: float = 0.0
    closing_epochs: int = 0
    closing_rate: float = 0.02
    cutout: int = 8
    averaging: float = 0.996
    teacher: str = ""
    distillation: float = 0.9
    temperature: float = 4.0
    held_out: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed, wanted in self._limits():
            if not allowed:
                flag = "--" + name.replace("_", "-")
                raise TrainingError(f"{flag} {getattr(self, name)}: it has to be {wanted}")

    def _limits(self) -> list[tuple[str, bool, str]]:
        """Of each setting that has limits: its name, whether it keeps to them, and what they are.

        What is not here is checked by those who use it: the optimizer, the random numbers.
        """
        shares = ("label_smoothing", "small_share", "distillation")
        below_one = ("momentum", "averaging")
        at_least = {
            "epochs": 0,
            "batch_size": 1,
            "learning_rate": 0,
            "adder_rate": 0,
            "warmup_epochs": 0,
            "weight_decay": 0,
            "small_size": 1,
            "closing_epochs": 0,
            "closing_rate": 0,
            "cutout": 0,
            "held_out": 1,
            "seed": 0,
        }
        return [
            *((name, 0 <= getattr(self, name) <= 1, "from 0 to 1") for name in shares),
            *(
                (name, 0 <= getattr(self, name) < 1, "at least 0, and less than 1")
                for name in below_one
            ),
            *(
                (name, least <= getattr(self, name) < math.inf, f"a number of at least {least}")
                for name, least in at_least.items()
            ),
            ("temperature", 0 < self.temperature < math.inf, "greater than 0"),
        ]

    def rate_at(self, epoch: float) -> float:
        """The learning rate at a fractional epoch; those after `epochs` are the closing ones."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        if epoch >= self.epochs:
            return self.closing_rate * (1.0 - (epoch - self.epochs) / self.closing_epochs)
        done = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))

    @property
    def all_epochs(self) -> int:
        """The closing ones included."""
        return self.epochs + self.closing_epochs


_TEACHER = Recipe(epochs=70, label_smoothing=0.0, distillation=0.0)
_STUDENT = Recipe(teacher="teacher_cifar10")


def recipe_for(name: str) -> Recipe:
    """The recipe that the shipped weights of a network were trained by.

    The teacher is one of CIFAR-10's classes: other networks are trained without one.
    """
    if name == _STUDENT.teacher:
        return _TEACHER
    student = name in MODELS and MODELS[name].labels == CIFAR10.labels
    return _STUDENT if student else Recipe()

"""The registry of models: what an entry holds, and how a family adds its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from torch import nn

from export.models.datasets import DataSet

_WEIGHTS = Path(__file__).resolve().parents[1] / "weights"

Builder = TypeVar("Builder", bound=Callable[[], nn.Module])


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
        paper: where the network was published, such as "arXiv 1911.11907"; may be empty.
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
    paper: str = ""


# The entries by name, in the order in which the families register them.
MODELS: dict[str, ModelSpec] = {}


def register(
    name: str, summary: str, data: DataSet, *, paper: str, weights: str | None = None
) -> Callable[[Builder], Builder]:
    """Decorates a function that builds a network with fresh weights: it becomes a model's builder.

    Args:
        name: what the model is called on command lines and in file names.
        summary: one line for `python -m export --list`.
        data: the images that the network reads and the classes that it tells apart.
        paper: where the network was published.
        weights: a file name in export/weights; None where no weights are meant to be shipped.

    Raises:
        ValueError: the name is taken.
    """

    def enter(build: Builder) -> Builder:
        if name in MODELS:
            raise ValueError(f"two models are called {name!r}: {MODELS[name].build} and {build}")
        MODELS[name] = ModelSpec(
            name,
            summary,
            build,
            data.input_size,
            data.resize,
            data.mean,
            data.std,
            data.labels,
            None if weights is None else _WEIGHTS / weights,
            paper,
        )
        return build

    return enter


def find_model(name: str) -> ModelSpec:
    """The entry called `name`; KeyError with the known names where there is none."""
    if name not in MODELS:
        known = ", ".join(MODELS)
        raise KeyError(f"unknown model {name!r}; known models: {known}")
    return MODELS[name]

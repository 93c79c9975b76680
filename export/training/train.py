"""Trains a network on small images; both shipped networks come of this recipe.

    python -m export.training.train ghostshiftaddnet --data train.zip --out build/training

SGD with Nesterov momentum, a linear warm-up and a cosine decay to zero, label smoothing, random
shifts and mirroring. The first part of the epochs sees images scaled down, which costs half as much
a step and teaches nearly as much (progressive resizing); the closing ones see them unshifted, as
they will be classified. The held-out part of the training set is for looking on; the test set is
not read here.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import math
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from export import labels
from export.checkpoint import load_network
from export.loading.options import add_model, add_spec, open_model
from export.loading.resolve import Source
from export.models import find_model
from export.spec import CompleteSpec, checked_entries
from export.training.data import (
    Normalize,
    augmented_batches,
    load_images,
    reflect_pad,
    split,
)
from runtime.console.commandline import FINE, Parser, leave
from runtime.core.errors import DataError, ShiftAddError, one_line, reason
from runtime.core.files import replace

_SETTLING_IMAGES = 12_800  # a hundred batches


class TrainingError(ShiftAddError):
    """A training that cannot start, go on or be used; one line."""


def load_training_state(checkpoint: Path) -> dict[str, Any]:
    """What `Trainer.save` wrote, on the CPU; TrainingError for anything else."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"{checkpoint}: cannot read it: {reason(error)}") from error
    # Foreign bytes make the reader raise nearly everything, from EOFError to AttributeError.
    except Exception as error:
        raise TrainingError(
            f"{checkpoint}: not a readable checkpoint ({type(error).__name__})"
        ) from error
    if not isinstance(state, dict) or not {"model", "optimizer", "epoch", "recipe"} <= state.keys():
        raise TrainingError(f"{checkpoint}: not a checkpoint of a training")
    return state


def restore(model: nn.Module, state: dict[str, Any], checkpoint: Path) -> None:
    """Puts a training's weights into `model`; TrainingError where they are another network's."""
    if state.get("network") != repr(model):
        raise TrainingError(f"{checkpoint}: of another network, or of an earlier version of it")
    model.load_state_dict(state["model"])


TrainedModel = tuple[Source, CompleteSpec]
"""A network to train: how it is made, and what it reads and tells apart."""


def registered(name: str) -> TrainedModel:
    """The network `name` of the registry; KeyError for an unknown name, with the known ones."""
    entry = find_model(name)
    return Source(entry.name, entry.build, entry), checked_entries(entry)


def with_classes(spec: CompleteSpec, classes: Sequence[str], data: Path) -> CompleteSpec:
    """`spec` with the classes of a data set where it has no names for them yet.

    Raises DataError for a data set of other classes.
    """
    if spec.labels == labels.generic(len(classes)):
        return dataclasses.replace(spec, labels=tuple(classes))
    if tuple(classes) != spec.labels:
        raise DataError(f"{data}: its classes are {classes}, not {list(spec.labels)}")
    return spec


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that the result depends on beside the network and the data."""

    epochs: int = 36
    batch_size: int = 128
    learning_rate: float = 0.25
    warmup_epochs: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    small_size: int = 24
    small_share: float = 0.4
    closing_epochs: int = 2
    closing_rate: float = 0.02
    held_out: int = 1000
    seed: int = 0

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


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and BatchNorm's scales, all of rank 1, do not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


class Trainer:
    """One training run, resumable after every epoch."""

    def __init__(
        self,
        model: str | TrainedModel,
        data: Path,
        out: Path,
        recipe: Recipe,
        weights: Path | None = None,
    ) -> None:
        self.source, self.spec = registered(model) if isinstance(model, str) else model
        self.recipe = recipe
        self.out = out / self.spec.name
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(recipe.seed)
        start = self.source.build() if weights is None else load_network(self.source, weights)[0]
        self.model = start.to(self.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = self.model  # what is run; a derived class may run the model otherwise
        groups = parameter_groups(self.model, recipe.weight_decay)
        self.optimizer = torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True
        )
        images, labels, classes = load_images(data, self.spec.input_size[1])
        self.spec = with_classes(self.spec, classes, data)
        self.images, self.labels = images, labels.to(self.device)
        self.padded = reflect_pad(images)
        self.normalize = Normalize(self.spec.mean, self.spec.std)
        self.train_set, self.held_out = split(len(images), recipe.held_out, recipe.seed)
        enough = len(self.held_out) > 0 and len(self.train_set) >= recipe.batch_size
        if recipe.batch_size < 1 or not enough:
            raise TrainingError(
                f"{data}: {len(self.train_set)} images to train on and {len(self.held_out)} held "
                f"out; needed are a batch of {recipe.batch_size} and at least 1"
            )
        self.epoch = 0

    @property
    def _checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def resume(self) -> None:
        """Goes on from the last checkpoint, if there is one of the same recipe."""
        if not self._checkpoint.exists():
            return
        state = load_training_state(self._checkpoint)
        if state["recipe"] != dataclasses.asdict(self.recipe):
            raise TrainingError(f"{self._checkpoint}: of another recipe; remove it to start afresh")
        self._take_up(state)

    def _take_up(self, state: dict[str, Any]) -> None:
        restore(self.model, state, self._checkpoint)
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]

    def save(self, **more: Any) -> None:
        """Writes checkpoint and weights, each aside first: an interruption leaves the old ones.

        `more` goes into the checkpoint: `settled` of final weights, whose statistics have been
        taken afresh.
        """
        self._save_checkpoint(**more)
        self._save_weights()

    def _save_checkpoint(self, **more: Any) -> None:
        buffer = io.BytesIO()
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "epoch": self.epoch,
                "recipe": dataclasses.asdict(self.recipe),
                "network": repr(self.model),
                **more,
            },
            buffer,
        )
        replace(self._checkpoint, buffer.getvalue(), "checkpoint")

    def _save_weights(self) -> None:
        weights = {k: v.contiguous().cpu() for k, v in self.model.state_dict().items()}
        replace(self.out / "model.safetensors", save(weights), "weights")

    def run(self) -> None:
        """Trains to the recipe's last epoch."""
        while self.epoch < self.recipe.all_epochs:
            started = time.perf_counter()
            loss = self._train_epoch()
            self.epoch += 1
            self.save()
            self._log(loss, self.accuracy(self.held_out), time.perf_counter() - started)
        self.settle()

    def _log(self, loss: float, accuracy: float, seconds: float) -> None:
        record = {
            "epoch": self.epoch,
            "loss": round(loss, 4),
            "held_out_top1": round(accuracy, 4),
            "seconds": round(seconds, 1),
        }
        with (self.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)

    @torch.no_grad()
    def settle(self) -> None:
        """Takes the BatchNorms' statistics afresh, over unaugmented images as they will be seen.

        What training leaves there is a moving average over shifted and mirrored images and over
        weights that have moved on (arXiv 1803.05407, section 3.2).
        """
        norms = [m for m in self.model.modules() if isinstance(m, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches from here
        self.model.train()
        size = self.recipe.batch_size
        count = min(_SETTLING_IMAGES, len(self.train_set)) // size * size  # equal batches
        chosen = torch.from_numpy(self.train_set[:count])
        for part in tqdm(chosen.split(size), desc="BatchNorm statistics"):
            self.model(self._inputs(self.images[part], None))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.save(settled=True)
        print(json.dumps({"settled_held_out_top1": round(self.accuracy(self.held_out), 4)}))

    def _train_epoch(self) -> float:
        recipe = self.recipe
        self.network.train()
        rng = np.random.default_rng((recipe.seed, self.epoch))
        order = rng.permutation(self.train_set)
        steps = len(order) // recipe.batch_size
        small = self.epoch < recipe.small_share * recipe.epochs
        losses = []
        shifts = self.epoch < recipe.epochs
        batches = augmented_batches(self.padded, order, recipe.batch_size, rng, shifts)
        bar = tqdm(
            batches, total=steps, desc=f"epoch {self.epoch + 1}/{recipe.all_epochs}", mininterval=10
        )
        for step, (batch, chosen) in enumerate(bar):
            for group in self.optimizer.param_groups:
                group["lr"] = recipe.rate_at(self.epoch + step / steps)
            inputs = self._inputs(batch, recipe.small_size if small else None)
            losses.append(self._step(inputs, self.labels[torch.from_numpy(chosen)]))
        return sum(losses) / len(losses)

    def _inputs(self, batch: Tensor, size: int | None) -> Tensor:
        inputs = self.normalize(batch.to(self.device))
        if size is not None:
            inputs = F.interpolate(inputs, (size, size), mode="bilinear", antialias=True)
        return inputs.contiguous(memory_format=torch.channels_last)

    def _step(self, inputs: Tensor, labels: Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(
            self.network(inputs), labels, label_smoothing=self.recipe.label_smoothing
        )
        loss.backward()
        self.optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} in epoch {self.epoch + 1}; try a lower --learning-rate"
            )
        return value

    def accuracy(self, chosen: NDArray[np.int64]) -> float:
        """Top-1 over these images of the set, unaugmented."""
        part = torch.from_numpy(chosen)
        return self.top1(self.images[part], self.labels[part])

    @torch.no_grad()
    def top1(self, images: Tensor, labels: Tensor) -> float:
        """Top-1 over uint8 images [N,H,W,3] and labels [N]."""
        self.network.eval()
        right = 0
        parts = list(zip(images.split(500), labels.split(500), strict=True))
        for part, expected in tqdm(parts, desc="top-1", leave=False, delay=5):
            logits = self.network(self._inputs(part, None))
            right += int((logits.argmax(1) == expected).sum())
        return right / len(images)


RecipeKind = TypeVar("RecipeKind", bound=Recipe)


def add_recipe_options(parser: Parser, recipe: Recipe, names: Collection[str]) -> None:
    """An option for each of these fields; the defaults are those of `recipe`."""
    for name in names:
        value = getattr(recipe, name)
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(value), default=value, help="default: %(default)s")


def opened(options: argparse.Namespace) -> TrainedModel:
    """The network that a command's options name, as its author wrote it. Raises ShiftAddError."""
    model = open_model(options)
    return model.source, model.spec


def recipe_of(options: argparse.Namespace, kind: type[RecipeKind]) -> RecipeKind:
    """The recipe that a command's options give."""
    given = {
        f.name: getattr(options, f.name) for f in dataclasses.fields(kind) if f.name in options
    }
    return kind(**given)


def run_to_end(trainer: Trainer) -> None:
    """`trainer.run`, with what the system refuses as a TrainingError."""
    try:
        trainer.run()
    except BrokenPipeError:
        raise
    except OSError as error:
        name = error.filename or trainer.out
        raise TrainingError(f"{name}: {reason(error)}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the options are the recipe's fields. Raises ShiftAddError."""
    parser = Parser(prog="python -m export.training.train", description=__doc__.splitlines()[0])
    add_model(parser)
    add_spec(parser)
    parser.add_argument("--data", type=Path, required=True, help="ImageFolder, a folder or a zip")
    parser.add_argument(
        "--weights", type=Path, help="start from this checkpoint instead of fresh weights"
    )
    parser.add_argument("--out", type=Path, default=Path("build/training"))
    add_recipe_options(parser, Recipe(), [field.name for field in dataclasses.fields(Recipe)])
    options = parser.parse_args(argv)
    model, recipe = opened(options), recipe_of(options, Recipe)
    try:
        trainer = Trainer(model, options.data, options.out, recipe, options.weights)
        trainer.resume()
    # The optimizer and the random numbers refuse what cannot be: a negative rate or seed.
    except ValueError as error:
        raise TrainingError(one_line(error)) from error
    run_to_end(trainer)
    return FINE


if __name__ == "__main__":
    leave(main)

"""Fine-tunes a trained network with fixed-point activations, or only measures what they cost.

    python -m export.training.finetune ghostshiftaddnet --data train.zip --bits 8
    python -m export.training.finetune ghostshiftaddnet --data train.zip --test test.zip --epochs 0

Starts from the shipped weights or those of --checkpoint and trains on by the recipe's loss and
augmentation, at a small rate, with activations as `fixed_point` simulates them. Kept are the
weights of the epoch with the best top-1 at --bits over held-out training images; the start counts
as epoch 0, so that nothing is lost there. `make export CHECKPOINT=...` takes them as they are. The
network is measured before and after, in float, FIX16 and FIX8: on the images of --test, which have
no part in the choice, else on the held-out ones, where "after" flatters, for the choice was made
there.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from export.checkpoint import load_network
from export.loading.options import add_model, add_spec
from export.training.data import load_images
from export.training.fixed_point import BITS, FixedPointNetwork
from export.training.recipe import Recipe, TrainingError
from export.training.train import (
    TrainedModel,
    Trainer,
    add_recipe_options,
    check_classes,
    opened,
    recipe_of,
    registered,
    run_to_end,
)
from runtime.console.commandline import FINE, Parser, leave, show
from runtime.core.errors import one_line
from runtime.core.files import replace, sha256

Accuracies = dict[str, float]
"""Top-1 by arithmetic: `float`, `FIX16`, `FIX8`."""

# Ranges settle within a few batches: they are the means of the batches' extremes.
_CALIBRATION_IMAGES = 1024

_OPTIONS = (
    *("epochs", "bits", "limit", "batch_size", "learning_rate", "warmup_epochs", "momentum"),
    *("weight_decay", "label_smoothing", "held_out", "seed"),
)


@dataclasses.dataclass(frozen=True)
class FineTuneRecipe(Recipe):
    """The recipe's defaults for going on from trained weights: few epochs, whole images.

    `limit` bounds the images trained on, and those measured on, for a quick look; 0 takes all.
    """

    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 0.001
    warmup_epochs: float = 0.1
    cutout: int = 0
    averaging: float = 0.0
    bits: int = 8
    limit: int = 0


class FineTuner(Trainer):
    """One fine-tuning run, resumable after every epoch; its files are in out/<name>.fix<bits>."""

    recipe: FineTuneRecipe
    graphed = False  # the ranges move on the CPU

    def __init__(
        self,
        model: str | TrainedModel,
        data: Path,
        out: Path,
        recipe: FineTuneRecipe,
        weights: Path | None = None,
        test: Path | None = None,
    ) -> None:
        if recipe.bits not in BITS:
            raise TrainingError(f"activations of {recipe.bits} bits; set 8 or 16")
        if recipe.epochs < 0 or recipe.limit < 0:
            raise TrainingError(
                f"{recipe.epochs} epochs over at most {recipe.limit} images; both are at least 0"
            )
        source, spec = registered(model) if isinstance(model, str) else model
        start = weights or source.weights
        if start is None or not start.is_file():
            raise TrainingError(
                f"{start or spec.name}: no trained weights to start from; train some with "
                "`make train`, or name a file of them (CHECKPOINT=file, --checkpoint)"
            )
        super().__init__((source, spec), data, out, recipe, start)
        self.out = out / f"{spec.name}.fix{recipe.bits}"
        self.start = sha256(start)
        self.network: FixedPointNetwork = FixedPointNetwork(self.model)
        self.measured = str(test) if test else f"held-out images of {data}"
        test_images, test_labels = self._load_test(test) if test else self._held_out_images()
        self.test_images = test_images[: recipe.limit or None]
        self.test_labels = test_labels[: recipe.limit or None]
        self.train_set = self._limited(self.train_set)
        self.before: Accuracies = {}
        self.best, self.best_epoch = -1.0, 0

    def _load_test(self, test: Path) -> tuple[Tensor, Tensor]:
        images, labels, classes = load_images(test, self.spec.input_size[1])
        check_classes(self.spec, classes, test)
        # Folders come class by class: a limit is to take of all.
        order = torch.from_numpy(np.random.default_rng(self.recipe.seed).permutation(len(images)))
        return images[order], labels[order].to(self.device)

    def _held_out_images(self) -> tuple[Tensor, Tensor]:
        part = torch.from_numpy(self.held_out)
        return self.images[part.to(self.device)], self.labels[part.to(self.device)]

    def _limited(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        recipe = self.recipe
        if 0 < recipe.limit < recipe.batch_size:
            raise TrainingError(
                f"a limit of {recipe.limit} images is less than a batch of {recipe.batch_size}"
            )
        return chosen[: recipe.limit or None]

    def _take_up(self, state: dict[str, Any]) -> None:
        if state.get("start") != self.start:
            raise TrainingError(
                f"{self._checkpoint}: started from other weights; remove it to start afresh"
            )
        super()._take_up(state)
        self.before, self.best = state["before"], state["best"]
        self.best_epoch = state["best_epoch"]
        self.network.set_ranges(state["ranges"])

    def run(self) -> None:
        """Fine-tunes to the last epoch, measures, prints a table and writes report.json."""
        if not self.before:
            self.before = self._measure("before")
        after = None
        if self.recipe.epochs > 0:
            with self.stop:
                self._train()
            after = self._measure_best()
        self._report(after)

    def _train(self) -> None:
        self.network.bits = self.recipe.bits
        if self.epoch == 0:
            self._keep_if_best()
        while self.epoch < self.recipe.epochs:
            started = time.perf_counter()
            loss = self._train_epoch()
            if self.stopping:
                return
            self.epoch += 1
            accuracy = self._keep_if_best()
            self.save()
            self._log(loss, accuracy, time.perf_counter() - started)

    def save(self) -> None:
        """Writes the checkpoint; the weights are written where they are the best so far."""
        self._save_checkpoint(
            start=self.start,
            before=self.before,
            best=self.best,
            best_epoch=self.best_epoch,
            ranges=self.network.ranges(),
        )

    def _keep_if_best(self) -> float:
        accuracy = self.accuracy(self.held_out)
        if accuracy > self.best:
            self.best, self.best_epoch = accuracy, self.epoch
            self._save_weights()
        return accuracy

    def _measure_best(self) -> Accuracies:
        """Of the weights that were kept, with ranges measured afresh, as calibration will."""
        if self.best_epoch == 0:
            return self.before
        kept, _ = load_network(self.source, self.weights_file)
        self.model.load_state_dict(kept.state_dict())
        return self._measure("after")

    def _measure(self, when: str) -> Accuracies:
        size = self.recipe.batch_size
        chosen = torch.from_numpy(self.train_set[: max(size, _CALIBRATION_IMAGES)])
        parts = tqdm(chosen.split(size), desc=f"ranges {when}", leave=False, delay=5)
        self.network.calibrate(self._inputs(self.images[part], None) for part in parts)
        accuracies = {}
        for label, bits in (("float", None), ("FIX16", 16), ("FIX8", 8)):
            self.network.bits = bits
            accuracies[label] = self.top1(self.test_images, self.test_labels)
        return accuracies

    def _report(self, after: Accuracies | None) -> None:
        report = {
            "model": self.spec.name,
            "start_sha256": self.start,
            "recipe": dataclasses.asdict(self.recipe),
            "kept_epoch": self.best_epoch,
            "measured_on": self.measured,
            "images": len(self.test_images),
            "top1_before": self.before,
            "top1_after": after,
        }
        content = json.dumps(report, indent=2) + "\n"
        replace(self.out / "report.json", content.encode(), "report")
        show(f"top-1 of {len(self.test_images):,} images ({self.measured})")
        if after:
            show("            before     after")
        for name, value in self.before.items():
            show(f"  {name:6}  {value:8.2%}" + (f"  {after[name]:8.2%}" if after else ""))
        if after:
            kept = (
                f"epoch {self.best_epoch}" if self.best_epoch else "the start: no epoch was better"
            )
            show(f"kept {kept}, in {self.weights_file}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Raises ShiftAddError."""
    parser = Parser(prog="python -m export.training.finetune", description=__doc__.splitlines()[0])
    add_model(parser)
    add_spec(parser)
    parser.add_argument("--data", type=Path, required=True, help="ImageFolder, a folder or a zip")
    parser.add_argument("--test", type=Path, help="measure on these images, an ImageFolder too")
    parser.add_argument("--checkpoint", type=Path, help="start from these weights")
    parser.add_argument("--out", type=Path, default=Path("build/finetune"))
    add_recipe_options(parser, FineTuneRecipe(), _OPTIONS)
    options = parser.parse_args(argv)
    model, recipe = opened(options, options.checkpoint), recipe_of(options, FineTuneRecipe)
    try:
        tuner = FineTuner(
            model, options.data, options.out, recipe, options.checkpoint, options.test
        )
        tuner.resume()
    # The optimizer and the random numbers refuse what cannot be: a negative rate or seed.
    except ValueError as error:
        raise TrainingError(one_line(error)) from error
    run_to_end(tuner)
    return FINE


if __name__ == "__main__":
    leave(main)

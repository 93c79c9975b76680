"""Trains a registered network on small images; all shipped networks come of this recipe.

    python -m export.training.train ghostshiftaddnet --data train.zip --out build/training

SGD with Nesterov momentum, a linear warm-up and a cosine decay to zero; random shifts, mirroring
and a blanked square; a teacher's logits beside the labels; the moving average of the weights is the
result. The defaults are those that the network's shipped weights were trained by. The held-out part
of the training set is for looking on; the test set is not read here.

Training goes on from its last checkpoint, which SIGTERM and the interrupt key have it write, too.
Several processes share each batch (see export.training.distributed). On a GPU the images stay
there, convolutions are computed in bfloat16 and a step is one CUDA graph.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import math
import time
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from export import labels
from export.checkpoint import load_network, spec_metadata
from export.checkpoint.errors import some
from export.loading.options import add_model, add_spec, open_model
from export.loading.resolve import Source
from export.models import find_model
from export.spec import CompleteSpec, checked_entries
from export.training.average import WeightAverage, refresh_statistics
from export.training.data import (
    Normalize,
    Plan,
    augment,
    blank_squares,
    draw_plan,
    load_images,
    reflect_pad,
    split,
)
from export.training.distill import Teacher, cache_file, loss_of
from export.training.distributed import ALONE, Processes, synchronise
from export.training.optimizer import make_optimizer
from export.training.plot import plot_log
from export.training.precision import Precision
from export.training.recipe import Recipe, TrainingError, recipe_for
from export.training.state import describe, load_training_state, restore
from export.training.step import GraphedStep, Step
from runtime.console.commandline import FINE, Parser, leave, show
from runtime.console.signals import StopRequest, Terminated
from runtime.core.errors import DataError, one_line, reason
from runtime.core.files import replace

_SETTLING_IMAGES = 12_800  # a hundred batches of 128

# Enough for a look at the averaged weights between epochs.
_GLANCE_IMAGES = 1024

# A checkpoint is written after an epoch, but not more often than this.
_SAVE_SECONDS = 20.0

# Batches that a GPU makes at a time: a small one leaves it waiting for the next.
_GPU_BATCHES = 32

# How often a loss is looked at: asking a GPU for it waits for the GPU.
_LOOK_STEPS = 50


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
    check_classes(spec, classes, data)
    return spec


def check_classes(spec: CompleteSpec, classes: Sequence[str], data: Path) -> None:
    """Raises DataError for a data set of other classes than the network's."""
    if tuple(classes) == spec.labels:
        return
    ours, theirs = len(spec.labels), len(classes)
    raise DataError(
        f"{data}: its {theirs} classes are {some(classes)}, and the network's {ours} are "
        f"{some(spec.labels)}: "
        + (
            "rename the folders, or the classes (LABELS=file, --labels)"
            if ours == theirs
            else "take a data set of the network's classes, or make the network with as many "
            "outputs (MODEL_ARGS)"
        )
    )


def check_input(spec: CompleteSpec) -> None:
    """Raises TrainingError for an input that is no square RGB image, which the recipe is for."""
    channels, height, width = spec.input_size
    if channels != 3 or height != width:
        raise TrainingError(
            f"{spec.name}: its input is {channels}x{height}x{width}, and this recipe trains on "
            "square RGB images: use a training loop of your own, or another input (INPUT=3xNxN, "
            "--input)"
        )


class Trainer:
    """One training run, resumable after every epoch and within one."""

    graphed = True  # whether a step on a GPU is recorded as a CUDA graph

    def __init__(
        self,
        model: str | TrainedModel,
        data: Path,
        out: Path,
        recipe: Recipe,
        weights: Path | None = None,
        teacher_cache: Path | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.processes, self.teacher_cache = processes, teacher_cache
        self.source, self.spec = registered(model) if isinstance(model, str) else model
        check_input(self.spec)
        self.recipe = recipe
        self.out = out / self.spec.name
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.precision = Precision.of(self.device)
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(recipe.seed)
        start = self.source.build() if weights is None else load_network(self.source, weights)[0]
        self.model = start.to(self.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = self._spread()  # what is run; a derived class may run the model otherwise
        self.average = WeightAverage(self.model, recipe.averaging) if recipe.averaging else None
        self.optimizer = make_optimizer(self.model, recipe)
        self._load_data(data)
        self.teacher = (
            Teacher(recipe.teacher, self.spec.labels, self.precision) if recipe.teacher else None
        )
        self.epoch, self.step = 0, 0
        self.losses: list[float] = []
        self.settled = False
        self.stop, self.stopping = StopRequest(), False
        self._saved_at = -math.inf
        self._step: Step | None = None

    def _spread(self) -> nn.Module:
        """The network as several processes run it, if there are several."""
        count, size = self.processes.count, self.recipe.batch_size
        if count == 1:
            return self.model
        if size % count or self.teacher_cache is not None:
            raise TrainingError(
                f"{count} processes: --batch-size {size} has to be a multiple of that, and "
                "--teacher-cache left out"
            )
        self.graphed = False
        synchronise(self.model)
        return DistributedDataParallel(self.model, broadcast_buffers=False)

    def _load_data(self, data: Path) -> None:
        recipe = self.recipe
        images, labels, classes = load_images(data, self.spec.input_size[1])
        self.spec = with_classes(self.spec, classes, data)
        self.images, self.labels = images.to(self.device), labels.to(self.device)
        self.padded = reflect_pad(images).to(self.device)
        self.normalize = Normalize(self.spec.mean, self.spec.std)
        self.train_set, self.held_out = split(len(images), recipe.held_out, recipe.seed)
        if not len(self.held_out) or len(self.train_set) < recipe.batch_size:
            raise TrainingError(
                f"{data}: {len(self.train_set)} images to train on and {len(self.held_out)} held "
                f"out; needed are a batch of {recipe.batch_size} and at least 1: "
                + _smaller(len(images))
            )

    @property
    def _checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    @property
    def weights_file(self) -> Path:
        """The weights alone, with what is known of the images that they are trained for."""
        return self.out / "model.safetensors"

    @property
    def _log_file(self) -> Path:
        return self.out / "log.jsonl"

    def resume(self) -> None:
        """Goes on from the last checkpoint, if there is one of the same recipe."""
        if not self._checkpoint.exists():
            return
        state = load_training_state(self._checkpoint)
        if state["recipe"] != dataclasses.asdict(self.recipe):
            raise TrainingError(f"{self._checkpoint}: of another recipe; remove it to start afresh")
        if state.get("teacher") != (self.teacher.digest if self.teacher else ""):
            raise TrainingError(
                f"{self._checkpoint}: of another teacher; remove it to start afresh"
            )
        self._take_up(state)

    def _take_up(self, state: dict[str, Any]) -> None:
        restore(self.model, state, self._checkpoint)
        self.settled = state.get("settled", False)
        if self.settled:
            self.epoch, self.average = state["epoch"], None
            return
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step, self.losses = state["epoch"], state["step"], state["losses"]
        if self.average is not None:
            self.average.network.load_state_dict(state["average"])
            self.average.updates = state["updates"]
        torch.set_rng_state(state["random"])
        # An interrupted training has logged epochs after its last checkpoint.
        if self.processes.leads and self._log_file.exists():
            lines = self._log_file.read_text().splitlines()
            kept = [line for line in lines if json.loads(line)["epoch"] <= self.epoch]
            replace(self._log_file, "".join(f"{line}\n" for line in kept).encode(), "log")

    def save(self) -> None:
        """Writes checkpoint and weights, each aside first: an interruption leaves the old ones."""
        if self.processes.leads:
            self._save_checkpoint()
            self._save_weights()

    def _save_checkpoint(self, **more: Any) -> None:
        average = self.average
        buffer = io.BytesIO()
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": average.network.state_dict() if average else {},
                "updates": average.updates if average else 0,
                "optimizer": {} if self.settled else self.optimizer.state_dict(),
                "epoch": self.epoch,
                "step": self.step,
                "losses": self.losses,
                "random": torch.get_rng_state(),
                "recipe": dataclasses.asdict(self.recipe),
                "teacher": self.teacher.digest if self.teacher else "",
                "network": describe(self.model),
                "settled": self.settled,
                "machine": self.precision.machine(),
                **more,
            },
            buffer,
        )
        replace(self._checkpoint, buffer.getvalue(), "checkpoint")
        self._saved_at = time.monotonic()

    def _save_weights(self) -> None:
        weights = {k: v.contiguous().cpu() for k, v in self.model.state_dict().items()}
        replace(self.weights_file, save(weights, spec_metadata(self.spec)), "weights")

    def run(self) -> None:
        """Trains to the recipe's last epoch.

        Raises KeyboardInterrupt or Terminated where a signal asked for the end; a checkpoint has
        been written then.
        """
        with self.stop:
            self._run()
        if self.stopping:  # another process got the signal
            raise Terminated

    def _run(self) -> None:
        while self.epoch < self.recipe.all_epochs:
            started = time.perf_counter()
            loss = self._train_epoch()
            if self.stopping:
                return
            self.epoch += 1
            last = self.epoch == self.recipe.all_epochs
            if last or time.monotonic() - self._saved_at >= _SAVE_SECONDS:
                self.save()
            self._log(loss, self.accuracy(self.held_out), time.perf_counter() - started)
        if not self.settled:
            self.settle()
        if self.processes.leads and self._log_file.exists():
            plot_log(self._log_file)

    def _log(self, loss: float, accuracy: float, seconds: float) -> None:
        record = {
            "epoch": self.epoch,
            "loss": round(loss, 4),
            "held_out_top1": round(accuracy, 4),
            "seconds": round(seconds, 1),
        }
        if self.processes.leads:
            with self._log_file.open("a") as log:
                log.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)

    def settle(self) -> None:
        """Takes the averaged weights, and the BatchNorms' statistics over images as they will be.

        Those of training are of shifted, mirrored and blanked images, and of weights that have
        moved on (arXiv 1803.05407, section 3.2).
        """
        if self.average is not None:
            self.model.load_state_dict(self.average.network.state_dict())
        parts = self._settling_inputs(_SETTLING_IMAGES, self.recipe.batch_size)
        refresh_statistics(self.model, tqdm(parts, desc="BatchNorm statistics"))
        self.average, self.settled = None, True
        self.save()
        accuracy = self.accuracy(self.held_out)
        if self.processes.leads:
            print(json.dumps({"settled_held_out_top1": round(accuracy, 4)}), flush=True)

    def _settling_inputs(self, most: int, size: int) -> Iterator[Tensor]:
        """Batches of `size` of the first `most` training images, unaugmented; at least one."""
        count = max(1, min(most, len(self.train_set)) // size) * size
        chosen = torch.from_numpy(self.train_set[:count]).to(self.device)
        return (self._inputs(self.images[part], None) for part in chosen.split(size))

    def _train_epoch(self) -> float:
        """Trains to the end of the epoch that has begun; its mean loss.

        Ends early, with a checkpoint written and `stopping` true, where that was asked for.
        """
        recipe = self.recipe
        plan = draw_plan(
            self.train_set,
            self.images.shape[1],
            recipe.seed,
            self.epoch,
            shifts=self.epoch < recipe.epochs,
        )
        steps = len(plan) // recipe.batch_size
        plan = plan.part(0, steps * recipe.batch_size).to(self.device)
        plan = plan.each(lambda images: self.processes.part(images, recipe.batch_size))
        self.network.train()
        fresh: list[Tensor] = []
        bar = tqdm(
            self._batches(plan),
            initial=self.step,
            total=steps,
            desc=f"epoch {self.epoch + 1}/{recipe.all_epochs}",
            mininterval=10,
            disable=not self.processes.leads,
        )
        for batch in bar:
            for group in self.optimizer.param_groups:
                rate = recipe.rate_at(self.epoch + self.step / steps)
                group["lr"] = rate * group["scale"]
            fresh.append(self._learn(*batch))
            self.step += 1
            self.stopping = self.processes.any(self.stop.requested, self.device)
            if self.stopping or self.step % _LOOK_STEPS == 0 or self.step == steps:
                self._look(fresh)
            if self.stopping:
                self.save()
                return math.nan
        mean = math.fsum(self.losses) / len(self.losses)
        self.step, self.losses = 0, []
        return mean

    def _look(self, fresh: list[Tensor]) -> None:
        """Moves losses from the GPU to `losses`; TrainingError where one is not finite."""
        values = self.processes.mean(torch.stack(fresh)).tolist()
        fresh.clear()
        for value in values:
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} in epoch {self.epoch + 1}; try a lower --learning-rate"
                )
        self.losses += values

    def _learn(self, inputs: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        """One step; its loss."""
        if self._step is None:
            self._step = self._make_step()
        loss = self._step(inputs, labels, taught).clone()
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        return loss

    def _make_step(self) -> Step:
        loss = partial(loss_of, self.recipe)
        if self.graphed and self.device == "cuda":
            return GraphedStep(self.network, loss, self.precision)
        return Step(self.network, loss, self.precision)

    def _batches(self, plan: Plan) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """The batches of an epoch from the current step on: inputs, labels, teacher's logits."""
        recipe = self.recipe
        size = recipe.batch_size // self.processes.count
        small = self.epoch < recipe.small_share * recipe.epochs
        taught = self._taught(plan)
        at_once = size * (_GPU_BATCHES if self.device == "cuda" else 1)
        for start in range(self.step * size, len(plan), at_once):
            part = plan.part(start, start + at_once)
            full = self._augmented(part)
            inputs = self._scaled(full, recipe.small_size) if small else full
            logits = None
            if self.teacher is not None:
                end = start + len(part)
                logits = self.teacher.logits(full) if taught is None else taught[start:end]
            for i in range(0, len(part), size):
                batch = slice(i, i + size)
                labels = self.labels[part.chosen[batch]]
                yield inputs[batch], labels, None if logits is None else logits[batch]

    def _augmented(self, part: Plan) -> Tensor:
        inputs = self._inputs(augment(self.padded, part), None)
        return blank_squares(inputs, part, self.recipe.cutout) if self.recipe.cutout else inputs

    def _taught(self, plan: Plan) -> Tensor | None:
        """The epoch's logits [len(plan), classes] from the cache, made where they are not there."""
        if self.teacher is None or self.teacher_cache is None:
            return None
        recipe = self.recipe
        shifts = self.epoch < recipe.epochs
        facts = (
            self.teacher.digest,
            recipe.seed,
            recipe.cutout,
            recipe.held_out,
            len(plan),
            shifts,
        )
        file = cache_file(
            self.teacher_cache, hashlib.sha256(repr(facts).encode()).hexdigest()[:16], self.epoch
        )
        if not file.exists():
            size = recipe.batch_size * (_GPU_BATCHES if self.device == "cuda" else 1)
            parts = [plan.part(start, start + size) for start in range(0, len(plan), size)]
            logits = torch.cat([self.teacher.logits(self._augmented(part)) for part in parts])
            replace(file, save({"logits": logits.half().cpu()}), "the teacher's logits")
        return load(file.read_bytes())["logits"].to(self.device).float()

    def _inputs(self, batch: Tensor, size: int | None) -> Tensor:
        inputs = self.normalize(batch.to(self.device))
        return self._scaled(inputs, size) if size is not None else _channels_last(inputs)

    def _scaled(self, inputs: Tensor, size: int) -> Tensor:
        small = F.interpolate(inputs, (size, size), mode="bilinear", antialias=True)
        return _channels_last(small)

    def accuracy(self, chosen: NDArray[np.int64]) -> float:
        """Top-1 of the averaged weights over these images of the set, unaugmented."""
        if self.average is not None:
            size = min(_GLANCE_IMAGES, len(self.train_set))
            refresh_statistics(self.average.network, self._settling_inputs(size, size))
        part = torch.from_numpy(chosen).to(self.device)
        return self.top1(self.images[part], self.labels[part])

    @torch.no_grad()
    def top1(self, images: Tensor, labels: Tensor) -> float:
        """Top-1 of the averaged weights over uint8 images [N,H,W,3] and labels [N]."""
        network = self.network.eval() if self.average is None else self.average.network
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        size = 1000 if self.device == "cuda" else 500
        parts = list(zip(images.split(size), labels.split(size), strict=True))
        for part, expected in tqdm(parts, desc="top-1", leave=False, delay=5):
            logits = network(self._inputs(part, None))
            right += (logits.argmax(1) == expected).sum()
        return int(right) / len(images)


def _smaller(images: int) -> str:
    """What to do where a data set is too small for the batch and the part that is held out."""
    if images < 2:
        return "take more images"
    held_out = max(1, images // 5)
    batch = min(32, images - held_out)
    return f'such as ARGS="--batch-size {batch} --held-out {held_out}", or take more images'


def _channels_last(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last)


RecipeKind = TypeVar("RecipeKind", bound=Recipe)


def add_recipe_options(parser: Parser, recipe: Recipe, names: Collection[str]) -> None:
    """An option for each of these fields; the defaults are those of `recipe`."""
    for name in names:
        value = getattr(recipe, name)
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(value), default=value, help="default: %(default)s")


def opened(options: argparse.Namespace, weights: Path | None) -> TrainedModel:
    """The network that a command's options name, as its author wrote it, for images as those that
    its weights were trained on. Raises ShiftAddError."""
    model = open_model(options, weights)
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


def _parser(recipe: Recipe) -> Parser:
    parser = Parser(prog="python -m export.training.train", description=__doc__.splitlines()[0])
    add_model(parser)
    add_spec(parser)
    parser.add_argument("--data", type=Path, required=True, help="ImageFolder, a folder or a zip")
    parser.add_argument(
        "--weights", type=Path, help="start from this checkpoint instead of fresh weights"
    )
    parser.add_argument("--out", type=Path, default=Path("build/training"))
    parser.add_argument(
        "--teacher-cache", type=Path, metavar="DIR",
        help="keep the teacher's logits here, for other networks that are trained by this recipe",
    )  # fmt: skip
    add_recipe_options(parser, recipe, [field.name for field in dataclasses.fields(Recipe)])
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the options are the recipe's fields. Raises ShiftAddError."""
    # The model's name decides what the other defaults are.
    name = _parser(Recipe()).parse_args(argv).model
    options = _parser(recipe_for(name)).parse_args(argv)
    model, recipe = opened(options, options.weights), recipe_of(options, Recipe)
    processes = Processes.start()
    try:
        trainer = Trainer(
            model,
            options.data,
            options.out,
            recipe,
            options.weights,
            options.teacher_cache,
            processes,
        )
        trainer.resume()
        run_to_end(trainer)
        if processes.leads:
            show(f"the weights are in {trainer.weights_file}: `make export` takes it as CHECKPOINT")
    # The optimizer refuses what cannot be: Nesterov's momentum of 0.
    except ValueError as error:
        raise TrainingError(one_line(error)) from error
    finally:
        processes.end()
    return FINE


if __name__ == "__main__":
    leave(main)

"""A training that is interrupted, and goes on: on a network and images made up for it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from export.models import MODELS
from export.models.datasets import CIFAR10
from export.training.recipe import Recipe, TrainingError
from export.training.train import Trainer
from runtime.console.signals import Terminated
from tests.support.children import training

RECIPE = Recipe(
    epochs=2, batch_size=8, warmup_epochs=0.5, held_out=8, teacher="", learning_rate=0.05
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The network is registered, and runs on one thread, for which batches are too small."""
    monkeypatch.setitem(MODELS, "tiny", None)  # taken out again at the end
    training.register()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of noise a class."""
    rng = np.random.default_rng()
    folder = tmp_path_factory.mktemp("images")
    size = training.SIZE
    for label in CIFAR10.labels:
        (folder / label).mkdir()
        for i in range(4):
            pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


class Interrupted(Trainer):
    """Gets SIGTERM before a step."""

    interrupted_at = 2

    def _learn(self, *batch: Any) -> Tensor:
        if self.step == self.interrupted_at and self.epoch == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super()._learn(*batch)


@pytest.mark.parametrize("step", [0, 2, 3], ids=["first", "within", "last"])
def test_sigterm_writes_a_checkpoint_that_leads_to_the_same_weights(
    images: Path, tmp_path: Path, step: int
) -> None:
    whole = Trainer("tiny", images, tmp_path / "whole", RECIPE)
    whole.run()

    first = Interrupted("tiny", images, tmp_path / "parts", RECIPE)
    first.interrupted_at = step
    with pytest.raises(Terminated):
        first.run()
    second = Trainer("tiny", images, tmp_path / "parts", RECIPE)
    second.resume()
    assert (second.epoch, second.step) == (0, step + 1)
    second.run()

    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    logs = [(tmp_path / run / "tiny" / "log.jsonl").read_text() for run in ("whole", "parts")]
    losses = [[json.loads(line)["loss"] for line in log.splitlines()] for log in logs]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2


def test_a_finished_training_is_left_as_it_is(images: Path, tmp_path: Path) -> None:
    trainer = Trainer("tiny", images, tmp_path, RECIPE)
    trainer.run()
    checkpoint = (tmp_path / "tiny" / "checkpoint.pt").read_bytes()
    assert (tmp_path / "tiny" / "curves.png").read_bytes().startswith(b"\x89PNG")
    again = Trainer("tiny", images, tmp_path, RECIPE)
    again.resume()
    again.run()
    assert (tmp_path / "tiny" / "checkpoint.pt").read_bytes() == checkpoint


def test_the_log_goes_back_with_the_checkpoint(images: Path, tmp_path: Path) -> None:
    """What was logged after the last checkpoint is trained and logged again."""
    trainer = Trainer("tiny", images, tmp_path, RECIPE)
    trainer.epoch = 1
    trainer.save()
    log = tmp_path / "tiny" / "log.jsonl"
    log.write_text('{"epoch": 1, "loss": 2}\n{"epoch": 2, "loss": 1}\n')
    Trainer("tiny", images, tmp_path, RECIPE).resume()
    assert log.read_text() == '{"epoch": 1, "loss": 2}\n'


def test_a_loss_that_is_not_finite_stops_with_advice(images: Path, tmp_path: Path) -> None:
    trainer = Trainer("tiny", images, tmp_path, RECIPE)
    with torch.no_grad():
        trainer.model.get_submodule("head")[1].weight[0] = torch.nan  # type: ignore[index]
    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 1; try a lower --learning"):
        trainer.run()

"""Two processes that share each batch against one that has it alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from export.models.datasets import CIFAR10
from tests.conftest import REPOSITORY
from tests.support.children import training

OPTIONS = ("--epochs", "2", "--batch-size", "16", "--held-out", "8", "--learning-rate", "0.05")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of noise a class."""
    rng = np.random.default_rng()
    folder = tmp_path_factory.mktemp("images")
    size = training.SIZE
    for label in CIFAR10.labels:
        (folder / label).mkdir()
        for i in range(8):
            pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


def train(
    images: Path, out: Path, processes: int, *options: str
) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [
        sys.executable,
        *(torchrun if processes > 1 else []),
        "-m",
        "tests.support.children.training",
    ]
    command += ["--data", str(images), "--out", str(out), *OPTIONS, *options]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=600
    )


def test_two_processes_follow_the_course_of_one(images: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        done = train(images, tmp_path / str(processes), processes)
        assert done.returncode == 0, done.stderr
    runs = [tmp_path / str(processes) / "tiny" for processes in (1, 2)]
    logs = [(run / "log.jsonl").read_text().splitlines() for run in runs]
    assert [len(log) for log in logs] == [2, 2]
    for alone, shared in zip(*logs, strict=True):
        # The log has four digits behind the point.
        assert json.loads(alone)["loss"] == pytest.approx(json.loads(shared)["loss"], abs=2e-4)
    weights = [load_file(run / "model.safetensors") for run in runs]
    torch.manual_seed(0)  # the recipe's seed, from which the network starts
    start = training.tiny_network().state_dict()
    names = [name for name, value in start.items() if value.is_floating_point()]
    before, alone, shared = (
        torch.cat([state[name].double().flatten() for name in names]) for state in (start, *weights)
    )
    assert (alone - shared).norm() <= 1e-3 * (alone - before).norm()


def test_a_batch_that_cannot_be_shared_is_one_line(images: Path, tmp_path: Path) -> None:
    done = train(images, tmp_path, 2, "--batch-size", "15")
    assert done.returncode != 0
    complaint = "error: 2 processes: --batch-size 15 has to be a multiple of that"
    assert complaint in done.stderr

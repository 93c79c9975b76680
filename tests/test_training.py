"""The training command and the publishing of its result, on a handful of made-up images."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from export.models import find_model
from export.models.registry import CIFAR10_LABELS
from export.operators import ShiftConv2d
from export.training.data import Normalize, augmented_batches, load_images, reflect_pad, split
from export.training.publish import compact_state
from export.training.train import Recipe

from .conftest import REPOSITORY


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of noise a class, in the ImageFolder layout."""
    rng = np.random.default_rng()
    folder = tmp_path_factory.mktemp("images")
    for label in CIFAR10_LABELS:
        (folder / label).mkdir()
        for i in range(4):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


def _train(images: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export.training.train", "ghostshiftaddnet"]
    command += ["--data", str(images), "--out", str(out), "--batch-size", "16", "--held-out", "8"]
    return subprocess.run(
        [*command, *options], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def test_training_resumes_where_it_stopped(images: Path, tmp_path: Path) -> None:
    done = _train(images, tmp_path, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "ghostshiftaddnet"
    first = load_file(run / "model.safetensors")

    state = torch.load(run / "checkpoint.pt", weights_only=True)
    state["recipe"]["epochs"] = 2
    torch.save(state, run / "checkpoint.pt")
    done = _train(images, tmp_path, "--epochs", "2")
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [1, 2]
    assert all(math.isfinite(record["loss"]) for record in log)
    second = load_file(run / "model.safetensors")
    assert not torch.equal(first["stem.0.weight"], second["stem.0.weight"])

    refused = _train(images, tmp_path, "--epochs", "3")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith("of another recipe; remove it to start afresh")


def test_training_starts_from_given_weights(images: Path, tmp_path: Path) -> None:
    weights = tmp_path / "start.safetensors"
    torch.manual_seed(7)
    start = find_model("ghostshiftaddnet").build().state_dict()
    save_file(start, weights)
    still = ("--epochs", "1", "--learning-rate", "0", "--weights", str(weights))
    done = _train(images, tmp_path, *still)
    assert done.returncode == 0, done.stderr
    end = load_file(tmp_path / "ghostshiftaddnet" / "model.safetensors")
    assert torch.equal(start["head.0.weight"], end["head.0.weight"])
    assert not torch.equal(start["head.1.running_mean"], end["head.1.running_mean"])


def test_statistics_are_those_of_unaugmented_images(images: Path, tmp_path: Path) -> None:
    weights = tmp_path / "start.safetensors"
    spec = find_model("ghostshiftaddnet")
    start = spec.build().double()
    save_file({k: v.float() for k, v in start.state_dict().items()}, weights)
    done = _train(
        images, tmp_path, "--epochs", "1", "--learning-rate", "0", "--weights", str(weights)
    )
    assert done.returncode == 0, done.stderr
    end = load_file(tmp_path / "ghostshiftaddnet" / "model.safetensors")

    pixels, _, _ = load_images(images, 32)
    train_set, _ = split(len(pixels), 8, Recipe().seed)
    inputs = Normalize(spec.mean, spec.std)(pixels[train_set])
    with torch.no_grad():
        expected = start.get_submodule("stem.0")(inputs.double()).mean((0, 2, 3))
    torch.testing.assert_close(end["stem.1.running_mean"].double(), expected, rtol=1e-4, atol=1e-5)


def test_unreadable_data_is_one_line(tmp_path: Path) -> None:
    done = _train(tmp_path / "nowhere", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("train: ")
    assert len(done.stderr.splitlines()) == 1


def test_rate_warms_up_and_decays_to_zero() -> None:
    recipe = Recipe(epochs=10, warmup_epochs=2.0, learning_rate=0.4)
    assert recipe.rate_at(0) == 0
    assert recipe.rate_at(1) == pytest.approx(0.2)
    assert recipe.rate_at(2) == pytest.approx(0.4)
    assert recipe.rate_at(6) == pytest.approx(0.2)
    assert recipe.rate_at(10) == pytest.approx(0, abs=1e-12)


def test_augmented_images_are_shifted_or_mirrored_originals(images: Path) -> None:
    pixels, _, classes = load_images(images, 32)
    assert tuple(classes) == CIFAR10_LABELS
    padded = reflect_pad(pixels)
    order, held_out = split(len(pixels), 8, seed=0)
    assert not set(order) & set(held_out)
    batches = list(augmented_batches(padded, order, 10, np.random.default_rng()))
    assert len(batches) == len(order) // 10
    for batch, chosen in batches:
        for image, i in zip(batch, chosen, strict=True):
            windows = padded[i].unfold(0, 32, 1).unfold(1, 32, 1).permute(0, 1, 3, 4, 2)
            shifted = (windows == image).flatten(2).all(2).any()
            mirrored = (windows == image.flip(1)).flatten(2).all(2).any()
            assert shifted or mirrored


def test_normalized_pixels_follow_the_formula() -> None:
    pixels = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    out = Normalize(mean, std)(pixels).double()
    for channel in range(3):
        expected = (pixels[..., channel].double() / 255 - mean[channel]) / std[channel]
        assert (out[:, channel] - expected).norm() <= 1e-6 * expected.norm()


def test_compact_weights_act_as_before() -> None:
    model = find_model("ghostshiftaddnet").build()
    compact = find_model("ghostshiftaddnet").build()
    compact.load_state_dict(compact_state(model))
    layers = dict(compact.named_modules())
    checked = 0
    for name, layer in model.named_modules():
        if isinstance(layer, ShiftConv2d):
            twin = layers[name]
            assert isinstance(twin, ShiftConv2d)
            assert torch.equal(layer.effective_weight(), twin.effective_weight())
            checked += 1
    assert checked == 37

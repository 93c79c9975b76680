"""The training command and the publishing of its result, on a handful of made-up images."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from export.models import find_model
from export.models.complexity import measure
from export.models.datasets import CIFAR10
from export.operators import ShiftConv2d
from export.operators.exact import float64_copy
from export.training import publish, train
from export.training.data import (
    Normalize,
    augment,
    blank_squares,
    draw_plan,
    load_images,
    reflect_pad,
    split,
)
from export.training.publish import (
    Measured,
    card,
    compact_state,
    compact_weights,
    packed_answers,
    unpacked_answers,
)
from export.training.recipe import Recipe, TrainingError, recipe_for
from export.training.state import describe
from tests.conftest import REPOSITORY
from tests.support.children.training import register, tiny_network
from tests.support.commands import in_process


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of noise a class, in the ImageFolder layout."""
    rng = np.random.default_rng()
    folder = tmp_path_factory.mktemp("images")
    for label in CIFAR10.labels:
        (folder / label).mkdir()
        for i in range(4):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


def _train(images: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.support.children.training"]
    command += ["--data", str(images), "--out", str(out), "--batch-size", "16", "--held-out", "8"]
    return subprocess.run(
        [*command, *options], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


@pytest.fixture
def refused(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Trains in this process, with options that are refused; its one line on stderr."""
    register(monkeypatch.setitem)

    def train_with(*options: str, data: Path = images) -> str:
        given = ["--data", str(data), "--out", str(tmp_path), "--batch-size", "16"]
        done = in_process(train.main, "tiny", "--teacher", "", *given, "--held-out", "8", *options)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        (complaint,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        return complaint

    return train_with


def test_training_resumes_where_it_stopped(images: Path, tmp_path: Path) -> None:
    done = _train(images, tmp_path, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "tiny"
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
    start = tiny_network().state_dict()
    save_file(start, weights)
    still = ("--epochs", "1", "--learning-rate", "0", "--weights", str(weights))
    done = _train(images, tmp_path, *still)
    assert done.returncode == 0, done.stderr
    end = load_file(tmp_path / "tiny" / "model.safetensors")
    assert torch.equal(start["head.0.weight"], end["head.0.weight"])
    assert not torch.equal(start["head.1.running_mean"], end["head.1.running_mean"])


def test_statistics_are_those_of_unaugmented_images(images: Path, tmp_path: Path) -> None:
    weights = tmp_path / "start.safetensors"
    network = tiny_network()
    save_file(network.state_dict(), weights)
    # Rounds its shift weights where float32 does.
    start = float64_copy(network).train()
    done = _train(
        images, tmp_path, "--epochs", "1", "--learning-rate", "0", "--weights", str(weights)
    )
    assert done.returncode == 0, done.stderr
    end = load_file(tmp_path / "tiny" / "model.safetensors")

    pixels, _, _ = load_images(images, 32)
    train_set, _ = split(len(pixels), 8, Recipe().seed)
    seen: dict[str, list[Tensor]] = {}
    norms = ["stem.1", "blocks.0.expand.adder.1", "head.1"]
    for name in norms:
        start.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: seen.setdefault(name, []).append(inputs[0])
        )
    with torch.no_grad():
        for batch in np.split(train_set, 2):  # of the 16 that _train asks for
            start(Normalize((0.5,) * 3, (0.5,) * 3)(pixels[batch]).double())
    for name in norms:
        means = torch.stack([x.mean((0, 2, 3)) for x in seen[name]]).mean(0)
        variances = torch.stack([x.var((0, 2, 3)) for x in seen[name]]).mean(0)
        mean, variance = (end[f"{name}.running_{key}"].double() for key in ("mean", "var"))
        # Behind another BatchNorm the means are 0: their error is relative to the deviation.
        assert (mean - means).norm() <= 1e-4 * (means.norm() + variances.sqrt().norm())
        assert (variance - variances).norm() <= 1e-4 * variances.norm()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (
            ("--held-out", "40"),
            ("0 images to train on", "40 held out", '"--batch-size 32 --held-out 8"'),
        ),
        (
            ("--batch-size", "64"),
            ("32 images to train on", "batch of 64", 'ARGS="--batch-size 32 --held-out 8"'),
        ),
        (("--input", "3x24x32"), ("its input is 3x24x32", "square RGB images", "INPUT=3xNxN")),
        (("--input", "3x16x16"), ("has 32x32 pixels", "16x16", "(INPUT=3x32x32, --input)")),
        (("--momentum", "0"), ("momentum",)),
        (("--epochs", "many"), ("--epochs", "'many'")),
        (("--batch-size", "0"), ("--batch-size 0", "at least 1")),
        (("--held-out", "0"), ("--held-out 0", "at least 1")),
        (("--seed", "-1"), ("--seed -1", "at least 0")),
        (("--learning-rate", "-1"), ("--learning-rate -1", "at least 0")),
        (("--learning-rate", "nan"), ("--learning-rate nan", "at least 0")),
        (("--small-size", "0"), ("--small-size 0", "at least 1")),
        (("--label-smoothing", "2"), ("--label-smoothing 2", "from 0 to 1")),
        (("--temperature", "0"), ("--temperature 0", "greater than 0")),
        (("--averaging", "1"), ("--averaging 1", "less than 1")),
        (("--teacher", "nobody"), ("--teacher nobody", "known models: ", "resnet20_cifar10")),
        (("--teacher", "ghostnet"), ("--teacher ghostnet", "its classes")),
    ],
)
def test_settings_that_cannot_work_are_one_line(
    refused: Callable[..., str], options: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    complaint = refused(*options)
    assert all(part in complaint for part in parts), complaint


def test_unreadable_checkpoint_is_one_line(refused: Callable[..., str], tmp_path: Path) -> None:
    run = tmp_path / "tiny"
    run.mkdir()
    (run / "checkpoint.pt").write_bytes(b"nothing of the kind")
    assert f"error: {run / 'checkpoint.pt'}: not a readable checkpoint" in refused()


def test_unreadable_data_is_one_line(refused: Callable[..., str], tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    assert f"{missing}: " in refused(data=missing)


def test_rate_warms_up_and_decays_to_zero() -> None:
    recipe = Recipe(epochs=10, warmup_epochs=2.0, learning_rate=0.4)
    assert recipe.rate_at(0) == 0
    assert recipe.rate_at(1) == pytest.approx(0.2)
    assert recipe.rate_at(2) == pytest.approx(0.4)
    assert recipe.rate_at(6) == pytest.approx(0.2)
    assert recipe.rate_at(10 - 1e-9) == pytest.approx(0, abs=1e-12)


def test_closing_epochs_have_a_rate_of_their_own() -> None:
    recipe = Recipe(epochs=10, closing_epochs=2, closing_rate=0.02)
    assert recipe.all_epochs == 12
    assert recipe.rate_at(10) == pytest.approx(0.02)
    assert recipe.rate_at(11) == pytest.approx(0.01)
    assert recipe.rate_at(12) == pytest.approx(0, abs=1e-12)


def test_augmented_images_are_shifted_or_mirrored_originals(images: Path) -> None:
    pixels, _, classes = load_images(images, 32)
    assert tuple(classes) == CIFAR10.labels
    padded = reflect_pad(pixels)
    order, held_out = split(len(pixels), 8, seed=0)
    assert not set(order) & set(held_out)
    plan = draw_plan(order, 32, seed=int(np.random.default_rng().integers(1000)), epoch=3)
    assert sorted(plan.chosen.tolist()) == sorted(order)
    batch = augment(padded, plan)
    for image, i, mirror in zip(batch, plan.chosen, plan.mirrored, strict=True):
        windows = padded[i].unfold(0, 32, 1).unfold(1, 32, 1).permute(0, 1, 3, 4, 2)
        seen = image.flip(1) if mirror else image
        assert (windows == seen).flatten(2).all(2).any()


def test_an_image_is_mirrored_in_every_other_epoch() -> None:
    order = np.arange(500)
    seen = []
    for epoch in range(3):
        plan = draw_plan(order, 32, seed=5, epoch=epoch)
        seen.append(plan.mirrored[torch.argsort(plan.chosen)])
    assert torch.equal(seen[0], ~seen[1])
    assert torch.equal(seen[0], seen[2])
    assert 0.3 < seen[0].double().mean() < 0.7


def test_closing_images_are_not_shifted(images: Path) -> None:
    pixels, _, _ = load_images(images, 32)
    plan = draw_plan(np.arange(len(pixels)), 32, seed=0, epoch=0, shifts=False)
    batch = augment(reflect_pad(pixels), plan)
    for image, i, mirror in zip(batch, plan.chosen, plan.mirrored, strict=True):
        assert torch.equal(image.flip(1) if mirror else image, pixels[i])
    assert 0 < plan.mirrored.sum() < len(pixels)


def test_squares_are_blanked_where_the_plan_says() -> None:
    plan = draw_plan(np.arange(50), 32, seed=1, epoch=0)
    inputs = torch.rand(50, 3, 32, 32) + 1
    out = blank_squares(inputs, plan, 8)
    for i in range(50):
        row, column = int(plan.cut_rows[i]), int(plan.cut_columns[i])
        expected = inputs[i].clone()
        expected[:, max(0, row - 4) : row + 4, max(0, column - 4) : column + 4] = 0
        assert torch.equal(out[i], expected)


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
    assert checked == 39


def test_tiny_powers_survive_compacting() -> None:
    model = nn.Sequential(ShiftConv2d(4, 4, 1, bits=6, span=7))
    (layer,) = model
    assert isinstance(layer, ShiftConv2d)
    with torch.no_grad():
        layer.weight.copy_(2.0 ** -torch.arange(20, 36).reshape(4, 4, 1, 1))
    twin = ShiftConv2d(4, 4, 1, bits=6, span=7)
    twin.load_state_dict({"weight": compact_state(model)["0.weight"].float()})
    assert torch.equal(layer.effective_weight(), twin.effective_weight())


def _finished(folder: Path, **changes: object) -> Path:
    """The checkpoint of a finished training with fresh weights."""
    network = find_model("ghostshiftaddnet").build()
    state = {
        "model": network.state_dict(),
        "network": describe(network),
        "optimizer": {},
        "epoch": 3,
        "recipe": {**dataclasses.asdict(recipe_for("ghostshiftaddnet")), "epochs": 3},
        "settled": True,
    }
    torch.save({**state, **changes}, folder / "checkpoint.pt")
    return folder / "checkpoint.pt"


def test_finished_weights_are_published_with_their_command(tmp_path: Path) -> None:
    spec = find_model("ghostshiftaddnet")
    weights, recipe = compact_weights(spec, _finished(tmp_path))
    assert len(weights) < 5_000_000
    report = {"images": 10, "top1": 0.5, "top5": 0.9}
    measured = Measured(report, {**report, "top1": 0.4}, (True, False) * 5)
    cost = measure(spec.build(), spec.input_size)
    text = card(spec, cost, recipe, measured, len(weights), "It ran somewhere.")
    assert 'make train MODEL=ghostshiftaddnet DATA=train.zip ARGS="--epochs 3"\n' in text
    assert "| top-1, 10 test images | **50.00%** |" in text
    assert "| top-1, int8 | 40.00% |" in text
    assert "It ran somewhere." in text
    untaught = card(spec, cost, {**recipe, "teacher": ""}, measured, len(weights))
    assert "ARGS=\"--epochs 3 --teacher ''\"\n" in untaught
    assert "logits" not in untaught


def test_answers_are_packed(rng: np.random.Generator) -> None:
    right = [False, *(rng.random(size=12) < 0.5).tolist(), True]
    assert unpacked_answers(packed_answers(right)) == right


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"epoch": 2}, "epoch 2 of 3"),
        ({"settled": False}, "statistics are not final"),
        ({"network": "ResNet()"}, "another network"),
    ],
)
def test_unfinished_weights_are_not_published(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(TrainingError, match=complaint):
        compact_weights(find_model("ghostshiftaddnet"), _finished(tmp_path, **changes))


def test_failed_measurement_leaves_what_is_shipped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = find_model("ghostshiftaddnet")
    assert spec.weights is not None
    shipped = spec.weights.read_bytes()
    run = tmp_path / spec.name
    run.mkdir()
    _finished(run)
    test = str(tmp_path / "nowhere.zip")
    done = in_process(publish.main, spec.name, "--training", tmp_path, "--test", test)
    assert done.returncode == 2
    said = capfd.readouterr().err + done.stderr  # the command that measures says what it lacks
    assert "nowhere.zip" in said
    assert "Traceback" not in said
    assert spec.weights.read_bytes() == shipped

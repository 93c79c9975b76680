"""What a training's weights say of the images that they are for, and what an export makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from export import Spec
from export import __main__ as exporter
from export.checkpoint import CheckpointError, carried_spec, spec_metadata
from export.training import train
from runtime.core.metadata import parse
from runtime.core.onnx_header import read_metadata
from tests.support.commands import in_process

NET = """
from torch import nn

def net(classes=2):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, classes),
    )
"""
SPEC = ("--input", "3x8x8", "--mean", "0.5,0.4,0.3", "--std", "0.2,0.25,0.3", "--resize", "9")
SHORT = ("--epochs", "1", "--batch-size", "4", "--held-out", "2", "--closing-epochs", "0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network that says nothing of its images, and twelve of them in two classes."""
    (tmp_path / "mine.py").write_text(NET)
    rng = np.random.default_rng()
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{i}.png")
    return tmp_path


def test_what_a_training_knew_is_exported(folder: Path) -> None:
    model, out = f"{folder}/mine.py:net", folder / "training"
    done = in_process(
        train.main, model, *SPEC, *SHORT, "--data", folder / "data", "--out", out
    )  # fmt: skip
    weights = out / "net" / "model.safetensors"
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"the weights are in {weights}: `make export`")
    given = (model, "--checkpoint", weights, "--out", folder)
    done = in_process(exporter.main, *given)
    assert done.returncode == 0, done.stderr
    for line in ("input       3x8x8", "mean        0.5, 0.4, 0.3", "labels      2: cat, dog"):
        assert f"{line} (carried by the checkpoint)" in done.stdout
    metadata = parse(read_metadata(str(folder / "net.onnx")))
    assert (metadata.labels, metadata.resize, metadata.input_size) == (("cat", "dog"), 9, (3, 8, 8))
    assert (metadata.mean, metadata.std) == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    # What is given goes first.
    (folder / "names").write_text("Katze\nHund\n")
    assert in_process(exporter.main, *given, "--labels", folder / "names").returncode == 0
    metadata = parse(read_metadata(str(folder / "net.onnx")))
    assert (metadata.labels, metadata.resize) == (("Katze", "Hund"), 9)
    # A training that goes on from them has the same input, and refuses other classes.
    (folder / "data" / "dog").rename(folder / "data" / "wolf")
    done = in_process(
        train.main, model, *SHORT, "--data", folder / "data", "--out", out, "--weights", weights
    )  # fmt: skip
    assert done.returncode == 2
    for part in ("its 2 classes are cat, wolf", "the network's 2 are cat, dog", "(LABELS=file"):
        assert part in done.stderr.splitlines()[-1]


def test_a_data_set_of_more_classes_says_what_to_do(folder: Path) -> None:
    done = in_process(
        train.main, f"{folder}/mine.py:net", "--model-args", "classes=3", *SPEC, *SHORT, "--data",
        folder / "data", "--out", folder,
    )  # fmt: skip
    assert done.returncode == 2
    said = done.stderr.splitlines()[-1]
    assert "its 2 classes are cat, dog, and the network's 3 are class 0, class 1, class 2" in said
    assert "make the network with as many outputs (MODEL_ARGS)" in said


def test_a_spec_comes_back_without_names_that_nobody_gave(tmp_path: Path) -> None:
    path, entries = tmp_path / "w.safetensors", {"input_size": [3, 9, 9], "resize": 11}
    for labels in (None, ("class 0", "class 1"), ("a", "b")):
        spec = Spec((3, 9, 9), labels, (0.1,) * 3, None, 11)
        save_file({"w": torch.randn(2)}, path, spec_metadata(spec))
        named = {"labels": ["a", "b"]} if labels == ("a", "b") else {}
        assert carried_spec(path) == {**entries, "mean": [0.1] * 3, **named}


def test_other_checkpoints_carry_nothing(tmp_path: Path) -> None:
    plain, pickled = tmp_path / "plain.safetensors", tmp_path / "w.pt"
    save_file({"w": torch.randn(2)}, plain, {"format": "pt"})
    torch.save({"w": torch.randn(2)}, pickled)
    for path in (plain, pickled, tmp_path / "none", tmp_path):
        assert carried_spec(path) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "its metadata shiftadd.spec is not JSON"),
        ("[" * 100_000, "its metadata shiftadd.spec is not JSON"),
        ("[1]", "its metadata shiftadd.spec is not a JSON object"),
        (json.dumps({"input_size": [3, 8, 8], "labels": ["a"]}), "1 labels for 2 outputs"),
        (json.dumps({"input_size": [3, 8, 8], "labels": "ab"}), "the labels are the text 'ab'"),
        (json.dumps({"input_size": [3, 8, 8], "std": [0, 0, 0]}), "std"),
        (json.dumps({"input_size": [3, 8, 8], "mean": 1}), "one number where one a channel is"),
        (json.dumps({"input_size": [3, 8, 8], "mean": ["x"] * 3}), "mean"),
        (json.dumps({"input_size": "3x8x8"}), "(channels, height, width) of an image"),
        (json.dumps({"input_size": 3}), "(channels, height, width) of an image"),
        (json.dumps({"input_size": [3, 8, 8], "resize": "9"}), "resize"),
    ],
)
def test_a_spec_that_cannot_be_is_one_line(folder: Path, text: str, said: str) -> None:
    network: dict[str, object] = {}
    exec(NET, network)
    module = network["net"]
    assert callable(module)
    weights = folder / "w.safetensors"
    made: nn.Module = module()
    save_file(made.state_dict(), weights, {"shiftadd.spec": text})
    given = (f"{folder}/mine.py:net", "--checkpoint", weights, "--out", folder)
    done = in_process(exporter.main, *given)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert said in done.stderr
    assert load_file(weights).keys() == made.state_dict().keys()
    if "metadata" in said:
        with pytest.raises(CheckpointError):
            carried_spec(weights)

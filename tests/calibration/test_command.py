"""`python -m calibration`: what it writes, what it refuses, and that nothing is left half done."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

import runtime
from calibration import __main__ as command
from calibration.table import Table, read
from runtime.core.errors import DataError, ModelError, ShiftAddError
from runtime.core.image_sets import ImageFolder
from runtime.core.metadata import parse
from runtime.core.preprocess import batch
from tests.support.commands import assert_refused, environment
from tests.support.models.runtime import LABELS, REPOSITORY, linear, metadata, photo, shift


@pytest.fixture
def same_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the command write the float graph: the quantized one has tests of its own."""

    def unchanged(model: onnx.ModelProto, table: Table, keep: Collection[str]) -> onnx.ModelProto:
        if "none such" in keep:
            raise ValueError("no node\nis named none such")
        return model

    monkeypatch.setattr(command, "quantize_model", unchanged)


def image_zip(path: Path, rng: np.random.Generator, count: int = 14) -> Path:
    """A zip of images at class_name/file, in more than one size."""
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(count):
            with archive.open(f"{LABELS[i % 2]}/{i:02}.png", "w") as file:
                photo(rng, 30 + i, 29).save(file, "png")
    return path


def flat_folder(path: Path, rng: np.random.Generator, count: int = 5) -> Path:
    path.mkdir()
    for i in range(count):
        photo(rng).save(path / f"{i}.png")
    return path


def files(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()}


def run(*arguments: str | Path) -> int:
    return command.main([str(argument) for argument in arguments])


def test_the_table_is_of_the_images(
    tmp_path: Path, rng: np.random.Generator, same_graph: None
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    data = image_zip(tmp_path / "set.zip", rng)
    arguments = (path, "--data", data, "--samples", "7", "--method", "minmax")
    assert run(*arguments, "--out", tmp_path / "out" / "q.onnx") == 0
    assert files(tmp_path / "out") == {"q.onnx", "q.json", "q.cache"}
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    table = read(tmp_path / "out" / "q.json", sha256)
    assert (table.model, table.method, table.samples) == ("small", "minmax", 7)
    folder = ImageFolder(data)
    # Every second of the fourteen.
    x = batch([folder.open(i) for i in range(0, 14, 2)], parse(metadata()))
    assert table.ranges["input"].low == x.min()
    assert table.ranges["input"].high == x.max()
    assert set(table.ranges) == {"input", "pooled", "flat", "logits"}


def test_weights_in_another_file_give_the_same_model(
    tmp_path: Path, rng: np.random.Generator, operator_library: Path
) -> None:
    path, _ = shift(tmp_path / "m.onnx", rng)
    split = tmp_path / "split.onnx"
    onnx.save_model(
        onnx.load(path), split, save_as_external_data=True, location="w", size_threshold=0
    )
    data = flat_folder(tmp_path / "flat", rng)
    written = []
    for source in (path, split):
        out = tmp_path / source.stem / "q.onnx"
        assert run(source, "--data", data, "--out", out, "--library", operator_library) == 0
        written.append(onnx.load(out).SerializeToString(deterministic=True))
    assert written[0] == written[1]


def test_a_flat_zip_is_taken_as_a_flat_folder_is(
    tmp_path: Path, rng: np.random.Generator, same_graph: None
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    folder = flat_folder(tmp_path / "flat", rng)
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    for source, name in ((folder, "a"), (tmp_path / "flat.zip", "b")):
        assert run(path, "--data", source, "--out", tmp_path / name / "q.onnx") == 0
    assert (tmp_path / "a" / "q.json").read_bytes() == (tmp_path / "b" / "q.json").read_bytes()


def test_a_folder_and_its_zip_give_one_table(
    tmp_path: Path, rng: np.random.Generator, same_graph: None
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    data = image_zip(tmp_path / "set.zip", rng)
    with zipfile.ZipFile(data) as archive:
        archive.extractall(tmp_path / "set")
    for source, name in ((data, "a"), (tmp_path / "set", "b")):
        assert run(path, "--data", source, "--out", tmp_path / name / "q.onnx") == 0
    first = (tmp_path / "a" / "q.json").read_bytes()
    assert (tmp_path / "b" / "q.json").read_bytes() == first
    Image.new("RGB", (30, 30)).save(tmp_path / "set" / LABELS[0] / "00.png")
    assert run(path, "--data", tmp_path / "set", "--out", tmp_path / "b" / "q.onnx") == 0
    again = json.loads((tmp_path / "b" / "q.json").read_text())
    assert again["data_sha256"] != json.loads(first)["data_sha256"]


def test_an_integer_model_that_runs(
    tmp_path: Path,
    rng: np.random.Generator,
    operator_library: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, _ = shift(tmp_path / "m.onnx", rng)
    data = flat_folder(tmp_path / "flat", rng)
    out = tmp_path / "q.onnx"
    assert run(path, "--data", data, "--out", out, "--library", operator_library) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert str(out) in captured.out
    assert str(tmp_path / "q.json") in captured.out
    assert "ShiftConv" in captured.out
    images = [Image.open(file) for file in data.iterdir()]
    with runtime.load(str(path)) as exact, runtime.load(str(out)) as ours:
        x = exact.prepare(images)
        expected, found = exact.run(x), ours.run(x)
    assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()
    with pytest.raises(ModelError, match=r"q.onnx: an integer model already"):
        run(out, "--data", data, "--out", tmp_path / "r.onnx")


def test_an_earlier_table(tmp_path: Path, rng: np.random.Generator, same_graph: None) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    data = flat_folder(tmp_path / "flat", rng)
    assert run(path, "--data", data, "--out", tmp_path / "q.onnx") == 0
    table = tmp_path / "q.json"
    written = table.read_bytes()
    assert run(path, "--table", table, "--out", tmp_path / "r.onnx") == 0
    assert table.read_bytes() == written
    assert (tmp_path / "r.onnx").read_bytes() == (tmp_path / "q.onnx").read_bytes()
    other, _ = linear(tmp_path / "other.onnx", rng)
    with pytest.raises(ModelError, match=r"q.json: the calibration table of another model"):
        run(other, "--table", table, "--out", tmp_path / "s.onnx")
    table.write_bytes(written[:100])
    with pytest.raises(ModelError, match=r"q.json: a damaged calibration table"):
        run(path, "--table", table, "--out", tmp_path / "s.onnx")
    assert files(tmp_path) == {
        "m.onnx", "other.onnx", "flat", "q.onnx", "q.json", "q.cache", "r.onnx", "r.cache",
    }  # fmt: skip


def test_an_unreadable_image_is_left_out(
    tmp_path: Path,
    rng: np.random.Generator,
    same_graph: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    data = flat_folder(tmp_path / "flat", rng)
    (data / "3.png").write_bytes(b"no image")
    assert run(path, "--data", data, "--out", tmp_path / "q.onnx") == 1
    assert capsys.readouterr().err.splitlines() == [f"error: {data}/3.png: not an image"]
    assert json.loads((tmp_path / "q.json").read_text())["samples"] == 4


def test_what_fails_leaves_both_files_as_they_were(
    tmp_path: Path, rng: np.random.Generator, same_graph: None
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    data = flat_folder(tmp_path / "flat", rng)
    (tmp_path / "out").mkdir()
    for name in ("q.onnx", "q.json"):
        (tmp_path / "out" / name).write_text("older")
    arguments = (path, "--data", data, "--out", tmp_path / "out" / "q.onnx")
    with pytest.raises(ModelError, match=r"m\.onnx: no node is named none such"):
        run(*arguments, "--keep-float", "a, none such")
    black = tmp_path / "black"
    black.mkdir()
    for name in "ab":
        Image.new("RGB", (30, 30)).save(black / f"{name}.png")
    with pytest.raises(ModelError, match=r"m\.onnx: input: the images hold nothing but -1"):
        run(same_channels(tmp_path, rng), "--data", black, "--out", tmp_path / "out" / "q.onnx")
    for name in ("q.onnx", "q.json"):
        assert (tmp_path / "out" / name).read_text() == "older"
    assert files(tmp_path / "out") == {"q.onnx", "q.json"}


def test_a_dead_activation_is_named(
    tmp_path: Path,
    rng: np.random.Generator,
    same_graph: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    data = flat_folder(tmp_path / "flat", rng)
    arguments = ("--data", data, "--out", tmp_path / "q.onnx")
    assert run(path, *arguments) == 0
    assert "dead:" not in capsys.readouterr().out
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, path)
    assert run(path, *arguments) == 0
    dead = "dead: 1 of 4 activations hold one value, whatever the image: logits (0)"
    assert dead in capsys.readouterr().out


def same_channels(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A model to which a black image is -1 everywhere."""
    properties = metadata(mean="[0.5, 0.5, 0.5]", std="[0.5, 0.5, 0.5]")
    (tmp_path / "same").mkdir()
    return linear(tmp_path / "same" / "m.onnx", rng, properties)[0]


def test_data_that_cannot_be_used(
    tmp_path: Path,
    rng: np.random.Generator,
    same_graph: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.png").write_bytes(b"no image")
    (tmp_path / "text.zip").write_text("no zip")
    for name, message in (
        ("empty", "no images in this directory"),
        ("none", "No such file"),
        ("text.zip", "neither a folder nor a complete zip"),
        ("bad", "none of the 1 images could be read"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            run(path, "--data", tmp_path / name, "--out", tmp_path / "out" / "q.onnx")
        assert str(tmp_path / name) in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_paths_that_cannot_be_written(
    tmp_path: Path, rng: np.random.Generator, same_graph: None
) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)
    content = path.read_bytes()
    data = flat_folder(tmp_path / "flat", rng)
    for out in (path, tmp_path / "q.json", tmp_path / "q.cache"):
        with pytest.raises(ShiftAddError, match="four files"):
            run(path, "--data", data, "--out", out)
    with pytest.raises(ShiftAddError, match=r"flat: a folder, where a file"):
        run(path, "--data", data, "--out", data)
    (tmp_path / "file").touch()
    with pytest.raises(ShiftAddError, match=r"q\.json: cannot write the calibration table"):
        run(path, "--data", data, "--out", tmp_path / "file" / "q.onnx")
    assert path.read_bytes() == content
    assert files(tmp_path) == {"m.onnx", "flat", "file"}


def test_the_command_line(tmp_path: Path, rng: np.random.Generator) -> None:
    path, _ = linear(tmp_path / "m.onnx", rng)

    def refused(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "calibration", *map(str, arguments)],
            cwd=REPOSITORY, capture_output=True, encoding="utf-8", env=environment(),
        )  # fmt: skip

    assert_refused(refused(path), "which images? --data PATH")
    assert_refused(
        refused(tmp_path / "none.onnx", "--data", tmp_path), "none.onnx: cannot read the model"
    )


def test_cifar10(
    tmp_path: Path, cifar10: Path, operator_library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(
        [sys.executable, "-m", "export", "ghostshiftaddnet", "--out", str(tmp_path)],
        cwd=REPOSITORY, check=True, capture_output=True,
    )  # fmt: skip
    path = tmp_path / "ghostshiftaddnet.onnx"
    out = tmp_path / "q.onnx"
    assert run(path, "--data", cifar10 / "test.zip", "--samples", "64", "--out", out) == 0
    assert "77 by mse over 64 images" in capsys.readouterr().out
    data = ImageFolder(cifar10 / "test.zip")
    chosen = range(0, 10_000, 100)
    truth = [data.samples[i][1] for i in chosen]
    with runtime.load(str(path)) as exact, runtime.load(str(out)) as ours:
        x = exact.prepare([data.open(i) for i in chosen])
        expected, found = exact.run(x).argmax(1), ours.run(x).argmax(1)
    assert (found == expected).mean() >= 0.93
    assert abs((found == truth).mean() - (expected == truth).mean()) <= 0.05

"""`runtime/evaluate.py` as a user runs it, under this Python and under the Jetson Nano's 3.6."""

import csv
import json
import os
import pty
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import runtime
from runtime.core.image_sets import ImageFolder
from runtime.core.selection import subset
from tests.support.commands import (
    PYTHONS,
    assert_refused,
    command,
    interpreter,
    interruptible,
    run,
)
from tests.support.models.runtime import (
    LABELS,
    MEAN,
    STD,
    Array,
    labelled_folder,
    linear,
    metadata,
)


@pytest.fixture(scope="module", params=PYTHONS)
def python(request: pytest.FixtureRequest) -> Path:
    return interpreter(request.param)


def expected_ranks(root: Path, weight: Array, labels: tuple[str, ...] = LABELS) -> list[int]:
    """The rank of each image's true class, 0 the best, by the formula of `linear`."""
    ranks = []
    for path in sorted(root.glob("*/*.png")):
        colour = np.asarray(Image.open(path))[0, 0]
        logits = weight.astype(float) @ ((colour / 255 - MEAN) / STD)
        truth = labels.index(path.parent.name)
        ranks.append(int((logits > logits[truth]).sum()))
    return ranks


def accuracy(ranks: list[int], k: int) -> float:
    return sum(rank < k for rank in ranks) / len(ranks)


@pytest.mark.parametrize("layout", ["folder", "zip"])
def test_accuracy(python: Path, tmp_path: Path, rng: np.random.Generator, layout: str) -> None:
    model, weight = linear(tmp_path / "m.onnx", rng)
    root = labelled_folder(tmp_path / "set", rng, ["bird", "dog", "ship", "truck"], 9)
    ranks = expected_ranks(root, weight)
    source = root
    if layout == "zip":
        source = tmp_path / "set.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in root.glob("*/*.png"):
                archive.write(path, path.relative_to(root))
    table = tmp_path / "predictions.csv"
    options = ("--json", "--batch-size", "7", "--predictions", table)
    result = run(python, "evaluate.py", model, source, *options)
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert report["images"] == 36
    assert report["bad_images"] == 0
    assert report["top1"] == accuracy(ranks, 1)
    assert report["top5"] == accuracy(ranks, 5)
    assert report["seconds"] > 0
    assert report["images_per_second"] == pytest.approx(36 / report["seconds"])
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    paths = sorted(root.glob("*/*.png"))
    assert [Path(row["file"]).name for row in rows] == [path.name for path in paths]
    assert [row["class"] for row in rows] == [path.parent.name for path in paths]
    best = [row["predicted"] == row["class"] for row in rows]
    assert best == [rank == 0 for rank in ranks]


def test_the_table_and_the_limit(python: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    model, weight = linear(tmp_path / "m.onnx", rng)
    root = labelled_folder(tmp_path / "set", rng, ["bird", "dog"], 10)
    ranks = expected_ranks(root, weight)[::2]
    result = run(python, "evaluate.py", model, root, "--limit", "10", "--threads", "1")
    assert (result.returncode, result.stderr) == (0, "")
    table = {line.rsplit(None, 1)[0]: line.split()[-1] for line in result.stdout.splitlines()}
    assert table["images"] == "10"
    assert table["top-1"] == f"{accuracy(ranks, 1):.2%}"
    assert table["top-5"] == f"{accuracy(ranks, 5):.2%}"
    assert table["bad images"] == "0"
    assert {"seconds", "images/s"} < set(table)


def test_a_bad_image_is_reported_and_the_others_count(
    python: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, weight = linear(tmp_path / "m.onnx", rng)
    root = labelled_folder(tmp_path / "set", rng, ["bird", "dog"], 5)
    (root / "bird" / "3.png").write_bytes(b"no image")
    result = run(python, "evaluate.py", model, root, "--json")
    assert_refused(result, "bird/3.png", "not an image", code=1)
    (root / "bird" / "3.png").unlink()
    report = json.loads(result.stdout)
    assert (report["images"], report["bad_images"]) == (9, 1)
    assert report["top1"] == accuracy(expected_ranks(root, weight), 1)


def test_what_is_refused(python: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    model, _ = linear(tmp_path / "m.onnx", rng)
    root = labelled_folder(tmp_path / "set", rng, ["bird", "zebra"], 1)
    assert_refused(run(python, "evaluate.py", model, root), "zebra", "does not know")
    assert_refused(run(python, "evaluate.py", model, tmp_path / "none"), "none", "No such file")
    assert_refused(run(python, "evaluate.py", model, model), str(model), "zip")
    assert_refused(run(python, "evaluate.py", model, root / "bird"), "no class folders")
    assert_refused(run(python, "evaluate.py", root, root), "directory")
    assert_refused(run(python, "evaluate.py", model, root, "--batch-size", "0"), "--batch-size")
    assert_refused(run(python, "evaluate.py", model, root, "--limit", "-1"), "--limit")
    newer, _ = linear(tmp_path / "newer.onnx", rng, metadata(contract_version="3"))
    assert_refused(run(python, "evaluate.py", newer, root), "version 3", "version 1")


def test_a_set_without_a_readable_image(
    python: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, _ = linear(tmp_path / "m.onnx", rng)
    (tmp_path / "set" / "cat").mkdir(parents=True)
    (tmp_path / "set" / "cat" / "1.png").write_bytes(b"no image")
    result = run(python, "evaluate.py", model, tmp_path / "set")
    assert result.returncode == 2
    first, second = result.stderr.splitlines()
    assert "cat/1.png" in first
    assert "none of the 1 images" in second


def test_an_interrupt_ends_it_quietly(
    python: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, _ = linear(tmp_path / "m.onnx", rng)
    root = labelled_folder(tmp_path / "set", rng, ["cat"], 3)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for i in range(20000):
            archive.write(root / "cat" / f"{i % 3}.png", f"cat/{i}.png")
    reader, writer = pty.openpty()
    with interruptible(
        command(python, "evaluate.py", model, tmp_path / "set.zip"), writer
    ) as process:
        os.close(writer)
        # The bar shows that it is in the middle of the work.
        drawn = os.read(reader, 4096)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    drawn += os.read(reader, 65536)
    os.close(reader)
    assert (process.returncode, output) == (130, b"")
    assert b"evaluate [" in drawn
    assert b"images/s" in drawn
    assert b"left" in drawn
    assert b"Traceback" not in drawn


def test_cifar10_in_its_zip(
    python: Path, tmp_path: Path, rng: np.random.Generator, cifar10: Path
) -> None:
    data = ImageFolder(cifar10 / "test.zip")
    assert [sum(c == k for _, c in data.samples) for k in range(10)] == [1000] * 10
    entries = metadata(labels=json.dumps(data.classes))
    model, weight = linear(tmp_path / "m.onnx", rng, entries, classes=10)
    result = run(python, "evaluate.py", model, cifar10 / "test.zip", "--limit", "500", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    right = 0
    session = runtime.load(model)
    for i in subset(10000, 500):
        pixels = session.prepare([data.open(i)])[0]
        logits = weight.astype(float) @ pixels.astype(float).mean(axis=(1, 2))
        right += int(np.argmax(logits)) == data.samples[i][1]
    # Another Pillow's JPEG decoder may round some pixels otherwise, and a near tie may tip.
    assert abs(json.loads(result.stdout)["top1"] * 500 - right) <= 2

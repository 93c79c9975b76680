"""`make cifar10`: the archives' own images, and archives that are something else."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from device_scripts.host.cifar10 import __main__ as command
from device_scripts.host.cifar10 import batches, pickled
from device_scripts.host.cifar10.pickled import PickleError
from export.labels import CIFAR10
from runtime.core.errors import DataError
from runtime.core.image_sets import ImageFolder
from tests.support.commands import assert_refused, in_process

COUNT = 12  # of images in a batch
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_IMAGES", COUNT)


@pytest.fixture
def images(rng: np.random.Generator) -> dict[str, tuple[Pixels, list[int]]]:
    """Pixels, uint8 [N, 3072], and classes, by batch."""
    return {
        name: (
            rng.integers(0, 256, (COUNT, 3072)).astype(np.uint8),
            rng.integers(0, 10, COUNT).tolist(),
        )
        for name in NAMES
    }


def as_python2(data: Pixels, labels: list[int]) -> bytes:
    """As the archive's own batches are written: protocol 2 of Python 2, all strings of bytes."""

    def text(value: bytes) -> bytes:
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + struct.pack("<i", len(value)) + value

    def short(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85q\x06"
    array += text(b"b") + b"\x87q\x07Rq\x08(K\x01" + short(data.shape[0]) + short(data.shape[1])
    array += b"\x86q\x09cnumpy\ndtype\nq\x0a" + text(b"u1") + b"K\x00K\x01\x87q\x0bRq\x0c(K\x03"
    array += text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0db\x89"
    array += text(data.tobytes()) + b"q\x0etq\x0fb"
    listed = b"]q\x03(" + b"".join(short(label) for label in labels) + b"e"
    head = b"\x80\x02}q\x01(" + text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5")
    return head + text(b"labels") + listed + text(b"data") + array + b"u."


def as_python3(protocol: int) -> Callable[[Pixels, list[int]], bytes]:
    return lambda data, labels: pickle.dumps({"data": data, "labels": labels}, protocol)


def as_binary(data: Pixels, labels: list[int]) -> bytes:
    return np.concatenate([np.array(labels, np.uint8)[:, None], data], axis=1).tobytes()


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def archive_of(path: Path, images: dict[str, Any], form: Callable[..., bytes]) -> Path:
    folder, end = ("batches-bin", ".bin") if form is as_binary else ("batches-py", "")
    members = {f"cifar-10-{folder}/{n}{end}": form(*batch) for n, batch in images.items()}
    return packed(path, {f"cifar-10-{folder}/readme.html": b"text", **members})


def run(*arguments: str | Path) -> Any:
    return in_process(command.main, *arguments)


@pytest.mark.parametrize(
    "form",
    [as_python2, as_python3(2), as_python3(3), as_python3(4), as_binary],
    ids=["Python 2", "protocol 2", "protocol 3", "protocol 4", "binary"],
)
def test_every_image_is_there_without_loss(
    tmp_path: Path, images: dict[str, Any], form: Callable[..., bytes]
) -> None:
    archive = archive_of(tmp_path / "cifar.tar.gz", images, form)
    result = run(archive, "--out", tmp_path / "out")
    assert (result.returncode, result.stderr) == (0, "")
    assert "60 images" in result.stdout
    for name, parts in (("train.zip", NAMES[:5]), ("test.zip", NAMES[5:])):
        data = ImageFolder(tmp_path / "out" / name)
        assert not data.skipped
        pixels = np.concatenate([images[part][0] for part in parts])
        classes = np.concatenate([images[part][1] for part in parts])
        assert len(data) == len(classes)
        found = {n: np.asarray(data.open(i)) for i, (n, _) in enumerate(data.samples)}
        for c in range(10):
            for number, row in enumerate(pixels[classes == c]):
                expected = row.reshape(3, 32, 32).transpose(1, 2, 0)
                assert np.array_equal(found[f"{CIFAR10[c]}/{number:04}.png"], expected)


def test_the_same_archive_gives_the_same_bytes(tmp_path: Path, images: dict[str, Any]) -> None:
    archive = archive_of(tmp_path / "cifar.tar.gz", images, as_binary)
    for name in ("a", "b"):
        assert run(archive, "--out", tmp_path / name).returncode == 0
    for name in ("train.zip", "test.zip"):
        first, second = ((tmp_path / folder / name).read_bytes() for folder in "ab")
        assert first == second
        with zipfile.ZipFile(io.BytesIO(first)) as zipped:
            assert zipped.testzip() is None


class Malicious:
    """Unpickled by Python it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_of_a_pickle_is_run(tmp_path: Path, images: dict[str, Any], protocol: int) -> None:
    trap = tmp_path / "trap"
    data, labels = images["data_batch_1"]

    def form(_data: Pixels, _labels: list[int]) -> bytes:
        value = {"data": data, "labels": labels, "more": Malicious(trap)}
        return pickle.dumps(value, protocol)

    archive = archive_of(tmp_path / "cifar.tar.gz", images, form)
    run(archive, "--out", tmp_path / "out")
    assert not trap.exists()
    pickle.loads(form(data, labels))
    assert trap.is_dir()  # the trap works


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda members: members.pop("x/data_batch_3.bin"), "no data_batch_3 in it"),
        (lambda members: members.clear(), "no data_batch_1, data_batch_2"),
        (lambda members: members.update({"x/test_batch.bin": b"half"}), "4 bytes are not a whole"),
        (lambda members: members.update({"x/test_batch.bin": bytes(3073)}), "1 images, where a"),
        (
            lambda members: members.update({"x/test_batch.bin": b"\x0a" * 3073 * COUNT}),
            "the class 10, where CIFAR-10 has 0 to 9",
        ),
        (lambda members: members.update({"y/test_batch.bin": b""}), "stands in it twice"),
        (lambda members: members.update({"x/test_batch": b""}), "stands in it twice"),
        (lambda members: members.update({"big": bytes(5000)}), "larger than CIFAR-10's"),
    ],
)
def test_another_archive_is_told_in_a_line(
    tmp_path: Path,
    images: dict[str, Any],
    change: Callable[[dict[str, bytes]], object],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = {f"x/{name}.bin": as_binary(*batch) for name, batch in images.items()}
    monkeypatch.setattr(batches, "_LARGEST_ARCHIVE", sum(map(len, members.values())) + 4000)
    change(members)
    archive = packed(tmp_path / "other.tar.gz", members)
    assert_refused(run(archive, "--out", tmp_path / "out"), f"{archive}: ", why)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("trouble", ["missing", "folder", "pipe", "device", "text", "half"])
def test_what_is_no_archive_is_told_in_a_line(
    tmp_path: Path, images: dict[str, Any], trouble: str
) -> None:
    path = tmp_path / trouble
    if trouble == "folder":
        path.mkdir()
    elif trouble == "pipe":
        os.mkfifo(path)
    elif trouble == "device":
        path = Path("/dev/zero")
    elif trouble == "text":
        path.write_text("no archive")
    elif trouble == "half":
        archive_of(path, images, as_binary)
        path.write_bytes(path.read_bytes()[:5000])
    assert_refused(run(path, "--out", tmp_path / "out"), f"{path}: cannot read the archive: ")


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"data": np.zeros((COUNT, 3072), np.uint8)},
        {"data": np.zeros((COUNT, 3072), np.float32), "labels": [0] * COUNT},
        {"data": np.zeros((COUNT, 3071), np.uint8), "labels": [0] * COUNT},
        {"data": np.zeros((3072, COUNT), np.uint8).T, "labels": [0] * COUNT},
        {"data": "text", "labels": [0] * COUNT},
        {"data": np.zeros((COUNT - 1, 3072), np.uint8), "labels": [0] * COUNT},
        {"data": Malicious(Path("never")), "labels": [0] * COUNT},
        {"data": np.zeros((COUNT, 3072), np.uint8), "labels": [-1] * COUNT},
        {"data": np.zeros((COUNT, 3072), np.uint8), "labels": ["cat"] * COUNT},
    ],
)
def test_a_batch_of_something_else_is_told(
    tmp_path: Path, images: dict[str, Any], value: object
) -> None:
    members = {f"x/{name}": as_python2(*batch) for name, batch in images.items()}
    members["x/data_batch_2"] = pickle.dumps(value, 2)
    archive = packed(tmp_path / "cifar.tar.gz", members)
    with pytest.raises(DataError, match=r"cifar\.tar\.gz: data_batch_2: "):
        batches.read(archive)


def test_no_part_of_a_batch_is_a_batch(images: dict[str, Any]) -> None:
    content = as_python2(*images["test_batch"])
    for length in (*range(0, 300), *range(len(content) - 30, len(content))):
        with pytest.raises(PickleError):
            pickled.read(content[:length])


def test_plain_values_are_read_as_pickle_reads_them(rng: np.random.Generator) -> None:
    value = {
        "a": [1, -2, 70000, 2**40, 1.5, None, True, False],
        "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "c": {"d": ["text", "größer"], "e": rng.integers(0, 99, 30).tolist()},
    }
    value["again"] = value["c"]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickled.read(pickle.dumps(value, protocol)) == value

"""Data sets: folders and zips of images, with classes and without."""

import io
import os
import pickle
import shutil
import stat
import struct
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.core import image_sets
from runtime.core.errors import DataError
from runtime.core.image_sets import ImageFolder, image_set
from tests.support.models.runtime import Array, photo


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in folder.rglob("*"):
            file.write(path, path.relative_to(folder))
    return archive


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Three classes with 2, 1 and 3 images, and things to be left out."""
    root = tmp_path / "set"
    for name in ("dog/2.png", "dog/10.PNG", "cat/1.png", "owl/deep/er/1.png", "owl/0.png"):
        write(root / name, png(photo(rng)))
    photo(rng).save(root / "owl" / "3.jpeg")
    for name in ("README.md", "loose.png", "dog/notes.txt", "dog/.hidden.png", ".git/cat/1.png"):
        write(root / name, png(photo(rng)))
    write(root / "__MACOSX" / "cat" / "1.png", b"side file")
    return root


EXPECTED = [
    ("cat/1.png", 0),
    ("dog/10.PNG", 1),
    ("dog/2.png", 1),
    ("owl/0.png", 2),
    ("owl/3.jpeg", 2),
    ("owl/deep/er/1.png", 2),
]


def pixels(path: Path) -> Array:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("layout", ["folder", "zip", "wrapped folder", "wrapped zip"])
def test_image_folder_layouts(tmp_path: Path, folder: Path, layout: str) -> None:
    prefix = ""
    place = folder
    if layout.startswith("wrapped"):
        # Loose files would stand beside the classes, one folder deep: still in the top folder.
        (folder / "loose.png").unlink()
        place, prefix = tmp_path / "outer", "inner/"
        shutil.copytree(folder, place / "inner")
    source = zipped(place, tmp_path / "set.zip") if layout.endswith("zip") else place
    data = ImageFolder(str(source))
    assert data.classes == ["cat", "dog", "owl"]
    assert data.samples == [(prefix + name, index) for name, index in EXPECTED]
    assert len(data) == 6
    for i, (name, _) in enumerate(EXPECTED):
        opened = data.open(i)
        assert opened.mode == "RGB"
        assert np.array_equal(np.asarray(opened), pixels(folder / name))


def test_a_path_object_will_do(folder: Path) -> None:
    assert len(ImageFolder(folder)) == 6


def test_a_single_class_is_not_taken_for_a_top_folder(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    write(tmp_path / "cat" / "1.png", png(photo(rng)))
    assert ImageFolder(str(tmp_path)).classes == ["cat"]


def test_many_threads_read_one_zip(tmp_path: Path, rng: np.random.Generator) -> None:
    images = [rng.integers(0, 256, size=(9, 11, 3)).astype(np.uint8) for _ in range(60)]
    for i, image in enumerate(images):
        write(tmp_path / "set" / f"class{i % 3}" / f"{i:03}.png", png(Image.fromarray(image)))
    data = ImageFolder(str(zipped(tmp_path / "set", tmp_path / "set.zip")))
    barrier = threading.Barrier(8)

    def read_all(_: int) -> bool:
        barrier.wait(timeout=30)
        order = np.random.default_rng().permutation(len(data))
        return all(
            np.array_equal(np.asarray(data.open(i)), images[int(Path(data.samples[i][0]).stem)])
            for i in order
        )

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read_all, range(8))) == [True] * 8


def test_a_set_travels_to_other_processes_and_reopens_after_close(
    tmp_path: Path, folder: Path
) -> None:
    data = ImageFolder(str(zipped(folder, tmp_path / "set.zip")))
    first = np.asarray(data.open(0))
    copy = pickle.loads(pickle.dumps(data))
    data.close()
    assert copy.samples == data.samples
    assert np.array_equal(np.asarray(copy.open(0)), first)
    assert np.array_equal(np.asarray(data.open(0)), first)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        ImageFolder(str(path))
    assert isinstance(caught.value, ValueError)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_sets_that_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "empty").mkdir()
    assert "no images" in refusal(tmp_path / "empty")
    assert "No such file" in refusal(tmp_path / "none")
    image = write(tmp_path / "flat" / "1.png", png(photo(rng)))
    assert "no class folders" in refusal(tmp_path / "flat")
    assert "neither a folder nor a complete zip" in refusal(image)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert "no images" in refusal(tmp_path / "empty.zip")


def test_a_truncated_zip_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = zipped(folder, tmp_path / "set.zip")
    archive.write_bytes(archive.read_bytes()[:-40])
    assert "complete zip" in refusal(archive)


def test_a_damaged_member_is_named(tmp_path: Path, folder: Path) -> None:
    archive = zipped(folder, tmp_path / "set.zip")
    with zipfile.ZipFile(archive) as file:
        info = file.getinfo("cat/1.png")
    content = bytearray(archive.read_bytes())
    middle = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    content[middle] ^= 0xFF
    archive.write_bytes(bytes(content))
    data = ImageFolder(str(archive))
    with pytest.raises(DataError, match=r"set\.zip/cat/1\.png: cannot unpack"):
        data.open(0)
    assert data.open(1).mode == "RGB"


def test_images_at_any_depth(tmp_path: Path, folder: Path) -> None:
    expected = ["0.png", "3.jpeg", "deep/er/1.png"]
    for path in (folder / "owl", zipped(folder / "owl", tmp_path / "flat.zip")):
        images = image_set(str(path))
        assert images.names == expected
        assert not images.skipped
        for name in expected:
            found = np.asarray(images.open(name))
            assert np.array_equal(found, pixels(folder / "owl" / name))
        images.close()


def test_what_is_left_out_is_counted(tmp_path: Path, folder: Path) -> None:
    """Two texts, a loose image, and nothing that is hidden or an archiver's."""
    for name in ("dog/1.heix", "dog/2.HEIX", "dog/3.heix", "cat/none", ".hidden.txt", "Thumbs.db"):
        write(folder / name, b"")
    kinds = "3 .heix, 1 .md, 1 .txt, 1 outside the class folders, 1 without an ending"
    for path in (folder, zipped(folder, tmp_path / "set.zip")):
        assert str(ImageFolder(path).skipped) == f"7 files left out: {kinds}"


def test_only_regular_files_are_in_a_set(folder: Path) -> None:
    os.mkfifo(folder / "cat" / "pipe.png")
    (folder / "cat" / "lost.png").symlink_to("nowhere.png")
    (folder / "dog" / "linked.png").symlink_to("2.png")
    data = ImageFolder(folder)
    assert ("dog/linked.png", 1) in data.samples
    assert len(data) == len(EXPECTED) + 1
    assert "1 broken link" in str(data.skipped)
    assert "1 no regular file" in str(data.skipped)


@pytest.mark.parametrize("path", ["/dev/zero", "pipe"])
def test_a_set_is_a_regular_file(tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "cannot read the data set: not a regular file" in refusal(tmp_path / path)


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path, folder: Path) -> None:
    root = tmp_path / "links"
    root.mkdir()
    for name in ("cat", "dog", "owl"):
        (root / name).symlink_to(folder / name)
    (folder / "owl" / "deep" / "up").symlink_to("..")
    (folder / "owl" / "top").symlink_to(root)
    data = ImageFolder(root)
    assert data.samples[:3] == EXPECTED[:3]
    assert [name for name, _ in data.samples if name.startswith("owl/top")] == []
    assert str(data.skipped) == "3 files left out: 2 link to a folder around it, 1 .txt"


def test_endings_that_every_pillow_reads(tmp_path: Path, rng: np.random.Generator) -> None:
    names = [f"cat/1{ending}" for ending in (".JFIF", ".jpe", ".jpg")]
    for name in names:
        (tmp_path / "cat").mkdir(exist_ok=True)
        photo(rng).save(tmp_path / name, "JPEG")
    assert [name for name, _ in ImageFolder(tmp_path).samples] == names


def test_endings_that_this_pillow_may_read(tmp_path: Path, rng: np.random.Generator) -> None:
    write(tmp_path / "cat" / "1.png", png(photo(rng)))
    endings = (".avif", ".heic", ".jp2")
    known = Image.registered_extensions()
    read = [ending for ending in endings if known.get(ending) in Image.OPEN]
    for ending in endings:
        write(tmp_path / "cat" / f"2{ending}", b"")
    data = ImageFolder(tmp_path)
    assert [name for name, _ in data.samples] == ["cat/1.png"] + [f"cat/2{e}" for e in read]
    assert bool(data.skipped) == (len(read) < 3)


def test_a_format_that_no_decoder_is_there_for_is_counted(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_sets._pillow_reads.cache_clear()
    Image.init()
    monkeypatch.delitem(Image.OPEN, "JPEG2000")
    write(tmp_path / "cat" / "1.png", png(photo(rng)))
    write(tmp_path / "cat" / "2.jp2", b"")
    assert str(ImageFolder(tmp_path).skipped) == "1 file left out: 1 .jp2"
    image_sets._pillow_reads.cache_clear()


@pytest.mark.parametrize(
    "name", ["./cat/1.png", "cat\\1.png", "/cat/1.png", "cat//1.png", "../cat/1.png"]
)
def test_names_in_a_zip_however_they_are_written(
    tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    image = photo(rng)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr(name, png(image))
        file.writestr(name.replace("cat", "dog"), png(photo(rng)))
    data = ImageFolder(tmp_path / "set.zip")
    assert data.samples == [("cat/1.png", 0), ("dog/1.png", 1)]
    assert np.array_equal(np.asarray(data.open(0)), np.asarray(image))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["cat/1.png", "./cat/1.png", "cat\\1.png"])
def test_a_member_that_stands_twice_counts_once(
    tmp_path: Path, rng: np.random.Generator, again: str
) -> None:
    last = photo(rng)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for name, image in (("cat/1.png", photo(rng)), ("dog/1.png", photo(rng)), (again, last)):
            file.writestr(name, png(image))
    data = ImageFolder(tmp_path / "set.zip")
    assert data.samples == [("cat/1.png", 0), ("dog/1.png", 1)]
    assert np.array_equal(np.asarray(data.open(0)), np.asarray(last))


def test_a_link_in_a_zip_is_no_image(tmp_path: Path, folder: Path) -> None:
    archive = zipped(folder, tmp_path / "set.zip")
    link = zipfile.ZipInfo("dog/linked.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(link, "2.png")
    data = ImageFolder(archive)
    assert data.samples == EXPECTED
    assert "1 link" in str(data.skipped)


@pytest.mark.parametrize("claimed", [100, 3000])
def test_a_member_is_read_up_to_the_limit_whatever_its_header_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: int
) -> None:
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("cat/1.png", bytes(64 << 20))
    size = struct.pack("<I", 64 << 20)
    archive.write_bytes(archive.read_bytes().replace(size, struct.pack("<I", claimed)))
    monkeypatch.setattr(image_sets, "_LARGEST_MEMBER", 2000)
    monkeypatch.setattr(image_sets, "_CHUNK", 500)
    data = ImageFolder(archive)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"set\.zip/cat/1\.png: cannot unpack: "):
            data.open(0)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()

"""Image files and ImageFolder data sets."""

import io
import pickle
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Union

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from runtime.core.errors import DataError
from runtime.core.images import ImageFolder, list_images, open_image
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


def test_listing(tmp_path: Path, folder: Path) -> None:
    listed = list_images(str(folder / "owl"))
    assert listed == [str(folder / "owl" / name) for name in ("0.png", "3.jpeg", "deep/er/1.png")]
    # A file that is named is taken whatever its ending.
    assert list_images(str(folder / "README.md")) == [str(folder / "README.md")]
    with pytest.raises(DataError, match="no such file"):
        list_images(str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        list_images(str(tmp_path / "empty"))


def opened_or_refused(path: Path) -> Union[Array, str]:
    """The pixels of an image, or the message of its refusal."""
    try:
        return np.asarray(open_image(str(path), "photo"))
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_truncated_images_are_refused_or_whole(
    tmp_path: Path, rng: np.random.Generator, form: str
) -> None:
    path = tmp_path / "photo"
    photo(rng, 64, 64).save(path, form)
    whole = path.read_bytes()
    expected = np.asarray(open_image(str(path), "photo"))
    refused = 0
    cuts = range(0, len(whole), max(1, len(whole) // 25))
    for length in cuts:
        path.write_bytes(whole[:length])
        result = opened_or_refused(path)
        if isinstance(result, str):
            assert result.startswith("photo: ")
            assert "\n" not in result
            refused += 1
        else:
            assert np.array_equal(result, expected)
    assert refused >= len(cuts) - 2


def test_a_decompression_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    photo(rng, 100, 100).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(DataError, match="refused: more than 8000 pixels"):
        open_image(str(tmp_path / "bomb.png"), "bomb.png")


def test_a_bomb_in_a_text_chunk_is_refused(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "text.png", pnginfo=info)
    with pytest.raises(DataError, match=r"text\.png: "):
        open_image(str(tmp_path / "text.png"), "text.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_cost_the_image(tmp_path: Path, rng: np.random.Generator) -> None:
    image = photo(rng)
    image.save(tmp_path / "photo.png", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff\xff")
    result = open_image(str(tmp_path / "photo.png"), "photo")
    assert np.array_equal(np.asarray(result), np.asarray(image))

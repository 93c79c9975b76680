"""Image files: decoded, or refused in one line."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Union

import numpy as np
import pytest
from PIL import Image

from runtime.core import memory
from runtime.core.errors import DataError
from runtime.core.images import as_image, open_image
from tests.support.models.runtime import REPOSITORY, Array, photo


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


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG (third edition, section 5.3)."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I4s", len(content), name) + content + struct.pack(">I", checksum)


@pytest.mark.parametrize(
    "unseen",
    [
        chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(2 << 20))),
        chunk(b"iTXt", b"comment\0\1\0\0\0" + zlib.compress(b"x" * (2 << 20))),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2 << 20))),
        70 * chunk(b"tEXt", b"comment\0" + b"x" * (1 << 20)),
    ],
    ids=["zTXt", "iTXt", "iCCP", "tEXt"],
)
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
def test_text_and_profiles_of_any_size_do_not_cost_the_picture(
    tmp_path: Path, rng: np.random.Generator, unseen: bytes, behind: bool
) -> None:
    image = photo(rng)
    whole = io.BytesIO()
    image.save(whole, "PNG")
    content = whole.getvalue()
    place = content.rindex(b"IEND") - 4 if behind else content.index(b"IDAT") - 4
    path = tmp_path / "text.png"
    path.write_bytes(content[:place] + unseen + content[place:])
    assert np.array_equal(np.asarray(open_image(str(path), "text.png")), np.asarray(image))


@pytest.mark.parametrize("name", ["photo.eps", "photo.png"])
def test_a_picture_that_another_program_would_draw_is_refused(
    tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    photo(rng).save(tmp_path / name, "EPS")
    with pytest.raises(DataError, match="another program run EPS files"):
        open_image(str(tmp_path / name), name)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path, why in (
        (tmp_path / "pipe.png", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "none.png", "No such file"),
    ):
        with pytest.raises(DataError, match=f"^photo: cannot read the image: {why}"):
            open_image(str(path), "photo")


def test_a_truncated_picture_that_was_only_opened_is_refused(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    photo(rng, 64, 64).save(tmp_path / "photo.jpg")
    content = (tmp_path / "photo.jpg").read_bytes()
    (tmp_path / "photo.jpg").write_bytes(content[:-200])
    with pytest.raises(DataError, match="cannot read the image: "):
        as_image(Image.open(tmp_path / "photo.jpg"))


_PEAK = r"""
import re, sys
from concurrent.futures import ThreadPoolExecutor
from runtime.core.images import open_image
def opened(path):
    image = open_image(path, path)
    return (image.width, image.height) + image.getpixel((0, 0))
with ThreadPoolExecutor(3) as pool:
    for found in pool.map(opened, sys.argv[1:]):
        print(*found)
print(*re.findall(r"VmHWM:\s*([0-9]+) kB", open("/proc/self/status").read()))
"""


def test_the_largest_pictures_take_600_megabytes_at_most(tmp_path: Path) -> None:
    """A photo of 100 megapixels on its side, in two threads at a time, and a palette with
    transparency, which takes 17 bytes a pixel where it is converted as a whole."""
    sideways = Image.Exif()
    sideways[0x0112] = 6
    plain = Image.new("RGB", (12500, 8000), (10, 20, 30))
    plain.save(tmp_path / "photo.png", exif=sideways, compress_level=1)
    palette = Image.new("P", (13000, 13000))
    palette.putpalette([10, 20, 30])
    palette.save(tmp_path / "palette.png", transparency=0, compress_level=1)
    del plain, palette
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PEAK, "photo.png", "palette.png", "photo.png"],
        stdout=subprocess.PIPE, check=True, cwd=str(tmp_path), encoding="utf-8", timeout=120,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    first, second, third, peak = result.stdout.splitlines()
    assert first == third == "2667 4167 10 20 30"
    assert second == "4334 4334 255 255 255"
    assert int(peak) * 1024 < 600e6


def test_what_takes_too_much_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    image = photo(rng, 50, 40)
    for name in ("large.png", "large.webp", "large.tif"):
        image.save(tmp_path / name)
    image.save(tmp_path / "large.jpg", progressive=True)
    monkeypatch.setattr(memory, "BUDGET", 50 * 40 * 4 - 1)
    for name in ("large.png", "large.webp", "large.tif", "large.jpg"):
        with pytest.raises(DataError, match=f"^{name}: too large: 50x40 pixels"):
            open_image(str(tmp_path / name), name)
    image.save(tmp_path / "plain.jpg")
    monkeypatch.setattr(memory, "BUDGET", 50 * 40 * 4)
    for name in ("large.png", "plain.jpg"):
        assert open_image(str(tmp_path / name), name).size == (50, 40)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_cost_the_image(tmp_path: Path, rng: np.random.Generator) -> None:
    image = photo(rng)
    image.save(tmp_path / "photo.png", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff\xff")
    result = open_image(str(tmp_path / "photo.png"), "photo")
    assert np.array_equal(np.asarray(result), np.asarray(image))

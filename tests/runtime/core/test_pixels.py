"""Pictures of every mode, lying on any side, made upright RGB."""

import struct
import zlib
from pathlib import Path
from typing import Tuple

import numpy as np
import pytest
from PIL import Image

from runtime.core import pixels
from runtime.core.errors import DataError
from runtime.core.images import open_image
from runtime.core.pixels import upright_rgb
from tests.support.models.runtime import Array, photo


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(
    tmp_path: Path, rng: np.random.Generator, orientation: int
) -> None:
    upright = rng.integers(0, 256, size=(6, 9, 3)).astype(np.uint8)
    # What a camera stores so that the transform that the tag names gives the upright picture
    # (EXIF 2.3, tag 0x0112).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    once = open_image(str(path), "photo")
    ways = [once, upright_rgb(once), upright_rgb(Image.open(path))]
    ways += [upright_rgb(Image.open(path).convert(mode)) for mode in ("RGB", "RGBA")]
    for way in ways:
        assert np.array_equal(np.asarray(way), upright)


def test_transparency_is_laid_over_white(rng: np.random.Generator) -> None:
    rgba = rng.integers(0, 256, size=(8, 8, 4)).astype(np.uint8)
    alpha = rgba[..., 3:] / 255.0
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(np.asarray(upright_rgb(Image.fromarray(rgba)), float) - expected).max() <= 1


def test_greyscale_with_and_without_alpha(rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, size=(8, 8)).astype(np.uint8)
    assert np.array_equal(np.asarray(upright_rgb(Image.fromarray(grey))), np.stack([grey] * 3, -1))
    alpha = rng.integers(0, 256, size=(8, 8)).astype(np.uint8)
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    expected = grey * (alpha / 255.0) + 255 * (1 - alpha / 255.0)
    assert np.abs(np.asarray(upright_rgb(both), float)[..., 1] - expected).max() <= 1


def test_sixteen_bit_greyscale_keeps_its_upper_byte(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    sixteen = rng.integers(0, 65536, size=(8, 8)).astype(np.uint16)
    Image.fromarray(sixteen).save(tmp_path / "deep.png")
    result = np.asarray(open_image(str(tmp_path / "deep.png"), "deep"))
    assert np.array_equal(result, np.stack([(sixteen // 256).astype(np.uint8)] * 3, -1))


def test_palette_with_and_without_a_transparent_entry(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    indices = rng.integers(0, 3, size=(8, 8)).astype(np.uint8)
    colours = np.array([[10, 20, 30], [200, 100, 50], [0, 255, 128]], np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "plain.png")
    assert np.array_equal(
        np.asarray(open_image(str(tmp_path / "plain.png"), "p")), colours[indices]
    )
    image.save(tmp_path / "hole.png", transparency=1)
    colours[1] = 255
    assert np.array_equal(np.asarray(open_image(str(tmp_path / "hole.png"), "p")), colours[indices])


def test_rgb_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), (1, 2, 3))
    image.putpixel((2, 1), (9, 9, 9))
    image.save(tmp_path / "key.png", transparency=(1, 2, 3))
    result = open_image(str(tmp_path / "key.png"), "key")
    assert result.getpixel((0, 0)) == (255, 255, 255)
    assert result.getpixel((2, 1)) == (9, 9, 9)


def test_cmyk(tmp_path: Path) -> None:
    colour = (40, 180, 90)
    cmyk = Image.new("CMYK", (16, 16), (255 - colour[0], 255 - colour[1], 255 - colour[2], 0))
    cmyk.save(tmp_path / "print.jpg", quality=100)
    result = np.asarray(open_image(str(tmp_path / "print.jpg"), "print"), float)
    assert np.abs(result - colour).max() <= 4


def test_one_bit(rng: np.random.Generator) -> None:
    bits = rng.integers(0, 2, size=(8, 8)).astype(bool)
    expected = np.where(bits[..., None], 255, 0) * np.ones(3, int)
    assert np.array_equal(np.asarray(upright_rgb(Image.fromarray(bits))), expected)


def test_floating_point_pixels_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    Image.fromarray(rng.random((4, 4)).astype(np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(DataError, match=r"depth\.tif.*floating-point"):
        open_image(str(tmp_path / "depth.tif"), "depth.tif")


def test_a_picture_that_is_as_it_should_be_is_not_copied(rng: np.random.Generator) -> None:
    image = photo(rng)
    assert upright_rgb(image) is image


def grey_of(path: Path) -> Array:
    """The red channel, after all channels were found to be the same."""
    result = np.asarray(open_image(str(path), "grey"))
    assert (result == result[..., :1]).all()
    return np.asarray(result[..., 0])


def test_sixteen_bit_greyscale_with_a_transparent_value(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    sixteen = rng.integers(0, 65536, size=(8, 8)).astype(np.uint16)
    sixteen[2, 3:5] = 777
    path = tmp_path / "deep.png"
    Image.fromarray(sixteen).save(path)
    content = path.read_bytes()
    place = content.index(b"IDAT") - 4
    # PNG (third edition), section 11.3.1.1; Pillow 8 does not write it for 16 bits.
    transparent = struct.pack(">I4sH", 2, b"tRNS", 777)
    transparent += struct.pack(">I", zlib.crc32(transparent[4:]))
    path.write_bytes(content[:place] + transparent + content[place:])
    expected = np.where(sixteen == 777, 255, sixteen >> 8)
    assert np.array_equal(grey_of(path), expected)


@pytest.mark.parametrize("bits", [8, 16, 31])
def test_whole_numbers_of_32_bits(tmp_path: Path, rng: np.random.Generator, bits: int) -> None:
    """Signed ones without negative values: the range is the least of these that holds them all."""
    values = rng.integers(0, 2**bits, size=(8, 8)).astype(np.int32)
    values[0, 0] = 2**bits - 1
    Image.fromarray(values).save(tmp_path / "deep.tif")
    assert np.array_equal(grey_of(tmp_path / "deep.tif"), values >> (bits - 8))


def test_whole_numbers_over_the_full_signed_range(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(-(2**31), 2**31, size=(8, 8)).astype(np.int32)
    values[0, 0] = -(2**31)
    Image.fromarray(values).save(tmp_path / "deep.tif")
    assert np.array_equal(grey_of(tmp_path / "deep.tif"), (values.astype(np.int64) + 2**31) >> 24)


def test_whole_numbers_over_the_full_unsigned_range(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    values = rng.integers(0, 2**32, size=(8, 8)).astype(np.uint32)
    values[0, 0] = 2**32 - 1
    path = tmp_path / "deep.tif"
    Image.fromarray(values.view(np.int32)).save(path)
    signed, unsigned = (struct.pack("<HHIH", 339, 3, 1, form) for form in (2, 1))  # SampleFormat
    assert signed in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(signed, unsigned))
    assert np.array_equal(grey_of(path), values >> 24)


@pytest.mark.parametrize(("premultiplied", "plain"), [("La", "LA"), ("RGBa", "RGBA")])
def test_premultiplied_colours(rng: np.random.Generator, premultiplied: str, plain: str) -> None:
    image = photo(rng, 9, 7).convert("RGBA")
    image.putalpha(Image.fromarray(rng.integers(64, 256, size=(7, 9)).astype(np.uint8)))
    image = image.convert(plain)
    found = np.asarray(upright_rgb(image.convert(premultiplied)), float)
    # Premultiplied colours have fewer levels: four to a step, at a quarter of the opacity.
    assert np.abs(found - np.asarray(upright_rgb(image), float)).max() <= 2


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_a_picture_without_pixels_is_refused(size: Tuple[int, int]) -> None:
    with pytest.raises(DataError, match=f"no pixels: {size[0]}x{size[1]}"):
        upright_rgb(Image.new("RGB", size))


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "I;16"])
def test_a_large_picture_is_shrunk_band_by_band(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, mode: str
) -> None:
    pixels_of_all = rng.integers(0, 256, size=(44, 61)).astype(np.uint8)
    grey = Image.fromarray(pixels_of_all)
    image = (
        Image.fromarray(pixels_of_all * np.uint16(256)) if mode == "I;16" else grey.convert(mode)
    )
    monkeypatch.setattr(pixels, "LARGEST_WHOLE", 700)
    monkeypatch.setattr(pixels, "_BAND", 500)
    found = np.asarray(upright_rgb(image), float)
    assert found.shape == (22, 31, 3)
    padded = np.pad(pixels_of_all, ((0, 0), (0, 1)), "edge").astype(float)
    expected = padded.reshape(22, 2, 31, 2).mean(axis=(1, 3))
    assert np.abs(found - expected[..., None]).max() <= 0.51


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_values_of_fewer_bits_in_sixteen(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, bits: int, name: str
) -> None:
    values = rng.integers(0, 2**bits, size=(8, 8)).astype(np.uint16)
    values[0, 0] = 0xFFFF  # brighter than the brightest
    Image.fromarray(values).save(tmp_path / name)
    monkeypatch.setenv(pixels.GREY_BITS, str(bits))
    assert np.array_equal(grey_of(tmp_path / name), np.minimum(values >> (bits - 8), 255))


@pytest.mark.parametrize("bits", ["", "7", "17", "twelve", "-12"])
def test_a_number_of_bits_that_is_none_is_told(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, bits: str
) -> None:
    Image.fromarray(rng.integers(0, 4096, size=(8, 8)).astype(np.uint16)).save(
        tmp_path / "deep.png"
    )
    monkeypatch.setenv(pixels.GREY_BITS, bits)
    with pytest.raises(DataError, match=r"deep: SHIFTADD_GREY_BITS is .*, not one of 8 9 10"):
        open_image(str(tmp_path / "deep.png"), "deep")

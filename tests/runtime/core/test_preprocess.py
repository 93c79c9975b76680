"""Pre-processing against formulas that share nothing with it."""

from pathlib import Path
from typing import Tuple

import numpy as np
import pytest
from PIL import Image

from runtime.core.errors import DataError
from runtime.core.images import open_image, to_rgb
from runtime.core.metadata import Metadata, parse
from runtime.core.preprocess import batch, preprocess
from tests.support.models.runtime import MEAN, STD, Array, metadata, photo


def described(height: int, width: int, resize: int) -> Metadata:
    return parse(metadata(input_size=f"[3, {height}, {width}]", resize=str(resize)))


def triangle_weights(source: int, target: int) -> Array:
    """Rows of the antialiased bilinear filter, [target, source]: a triangle of the width of one
    output pixel (at least one input pixel), sampled at input pixel centres and normalised."""
    scale = source / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source) + 0.5 - centres[:, None]) / support
    weights = np.clip(1.0 - distance, 0.0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def reference(pixels: Array, height: int, width: int, resize: int) -> Array:
    """float64 [3, height, width] of RGB pixels [h, w, 3]."""
    h, w, _ = pixels.shape
    tall, wide = (resize, resize * w // h) if h < w else (resize * h // w, resize)
    resized = np.einsum(
        "ih,hwc,jw->ijc", triangle_weights(h, tall), pixels.astype(float), triangle_weights(w, wide)
    )
    top, left = (tall - height) // 2, (wide - width) // 2
    crop = resized[top : top + height, left : left + width]
    return np.asarray(((crop / 255 - MEAN) / STD).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("size", "height", "width", "resize"),
    [
        ((320, 240), 32, 32, 32),
        ((101, 257), 24, 20, 27),
        ((500, 37), 32, 32, 36),
        ((16, 16), 32, 32, 32),
        ((33, 32), 32, 32, 32),
    ],
)
def test_resize_crop_and_normalisation(
    rng: np.random.Generator, size: Tuple[int, int], height: int, width: int, resize: int
) -> None:
    image = photo(rng, *size)
    result = preprocess(image, described(height, width, resize))
    expected = reference(np.asarray(image), height, width, resize)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert result.shape == (3, height, width)
    # Pillow rounds to a byte after each of its two passes: half a byte each at most, and an error
    # of variance 1/12 each.
    in_bytes = (result - expected) * 255 * np.reshape(STD, (3, 1, 1))
    assert np.abs(in_bytes).max() <= 1.01
    assert np.sqrt(np.mean(in_bytes**2)) <= 1.1 * np.sqrt(2 / 12)


def test_an_image_of_the_right_size_is_exact(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, size=(32, 32, 3)).astype(np.uint8)
    result = preprocess(Image.fromarray(pixels), described(32, 32, 32))
    expected = ((pixels / 255 - MEAN) / STD).transpose(2, 0, 1)
    assert np.linalg.norm(result - expected) <= 2e-6 * np.linalg.norm(expected)


def test_a_batch_stacks_images_of_different_sizes(rng: np.random.Generator) -> None:
    images = [photo(rng, 40, 30), photo(rng, 25, 90)]
    stacked = batch(images, described(20, 24, 24))
    assert stacked.shape == (2, 3, 20, 24)
    for row, image in zip(stacked, images):
        assert np.array_equal(row, preprocess(image, described(20, 24, 24)))


def test_a_sliver_is_refused_instead_of_filling_the_memory() -> None:
    with pytest.raises(DataError, match=r"too elongated.*1x60000"):
        preprocess(Image.new("RGB", (1, 60000)), described(224, 224, 256))


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
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(np.asarray(open_image(str(tmp_path / "photo.png"), "photo")), upright)


def test_transparency_is_laid_over_white(rng: np.random.Generator) -> None:
    rgba = rng.integers(0, 256, size=(8, 8, 4)).astype(np.uint8)
    alpha = rgba[..., 3:] / 255.0
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(np.asarray(to_rgb(Image.fromarray(rgba)), float) - expected).max() <= 1


def test_greyscale_with_and_without_alpha(rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, size=(8, 8)).astype(np.uint8)
    assert np.array_equal(np.asarray(to_rgb(Image.fromarray(grey))), np.stack([grey] * 3, -1))
    alpha = rng.integers(0, 256, size=(8, 8)).astype(np.uint8)
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    expected = grey * (alpha / 255.0) + 255 * (1 - alpha / 255.0)
    assert np.abs(np.asarray(to_rgb(both), float)[..., 1] - expected).max() <= 1


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
    assert np.array_equal(np.asarray(to_rgb(Image.fromarray(bits))), expected)


def test_floating_point_pixels_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    Image.fromarray(rng.random((4, 4)).astype(np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(DataError, match=r"depth\.tif.*floating-point"):
        open_image(str(tmp_path / "depth.tif"), "depth.tif")


def test_a_grey_model_is_given_the_luma(rng: np.random.Generator) -> None:
    """ITU-R 601's weights, which Pillow rounds to whole levels."""
    image = photo(rng, 40, 36)
    grey = parse(metadata(input_size="[1, 36, 36]", resize="36", mean="[0.4]", std="[0.2]"))
    result = preprocess(image, grey)
    luma = np.asarray(image, float) @ (0.299, 0.587, 0.114)
    expected = (luma[:, 2:38] / 255 - 0.4) / 0.2
    assert result.dtype == np.float32
    assert result.shape == (1, 36, 36)
    assert np.abs(result[0] - expected).max() < 1.01 / 255 / 0.2

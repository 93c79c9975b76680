"""Pre-processing against formulas that share nothing with it."""

from typing import Tuple

import numpy as np
import pytest
from PIL import Image

from runtime.core.errors import DataError
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

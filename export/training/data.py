"""Small-image data sets held in memory, and their augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from runtime.core.errors import DataError
from runtime.core.images import ImageFolder

_CROP_PADDING = 4


def load_images(path: Path, size: int) -> tuple[Tensor, Tensor, list[str]]:
    """All images of an ImageFolder (folder or zip): uint8 [N, size, size, 3], labels, class names.

    Raises runtime.core.errors.DataError for an unreadable set and for images of another size.
    """
    folder = ImageFolder(str(path))
    images = np.empty((len(folder), size, size, 3), np.uint8)

    def decode(i: int) -> None:
        pixels = np.asarray(folder.open(i))
        if pixels.shape != images.shape[1:]:
            name = folder.samples[i][0]
            raise DataError(f"{name}: expected {size}x{size} pixels, got {pixels.shape[:2]}")
        images[i] = pixels

    with ThreadPoolExecutor(2) as pool:
        jobs = pool.map(decode, range(len(folder)))
        for _ in tqdm(jobs, total=len(folder), desc=f"reading {path.name}", unit="image"):
            pass
    labels = torch.tensor([label for _, label in folder.samples])
    return torch.from_numpy(images), labels, folder.classes


def split(count: int, held_out: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two disjoint sets of indices, (training, validation), the same for the same seed."""
    order = np.random.default_rng(seed).permutation(count)
    return order[held_out:], order[:held_out]


class Normalize:
    """uint8 [N,H,W,3] to float32 [N,3,H,W], channels-last in memory: (pixel/255 - mean) / std."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self._scale = 1.0 / (255.0 * torch.tensor(std))
        self._offset = torch.tensor(mean) / torch.tensor(std)

    def __call__(self, images: Tensor) -> Tensor:
        scale, offset = self._scale.to(images.device), self._offset.to(images.device)
        return (images.float() * scale - offset).permute(0, 3, 1, 2)


def reflect_pad(images: Tensor) -> Tensor:
    """uint8 [N,H,W,3] to [N,H+8,W+8,3], mirrored at the border: what a random shift uncovers.

    Done once for the whole set, so that a shifted image is a slice.
    """
    border = (_CROP_PADDING, _CROP_PADDING)
    return torch.from_numpy(np.pad(images.numpy(), ((0, 0), border, border, (0, 0)), "reflect"))


def augmented_batches(
    padded: Tensor,
    order: NDArray[np.int64],
    batch_size: int,
    rng: np.random.Generator,
    shifts: bool = True,
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Batches of mirrored and, if `shifts`, shifted images, both at random, with their indices.

    `padded` is what `reflect_pad` made; batches are uint8 [batch_size,H,W,3]. The last, incomplete
    one is dropped: BatchNorm wants equal ones.
    """
    size = padded.shape[1] - 2 * _CROP_PADDING
    for start in range(0, len(order) - batch_size + 1, batch_size):
        chosen = order[start : start + batch_size]
        low, high = (0, 2 * _CROP_PADDING) if shifts else (_CROP_PADDING, _CROP_PADDING)
        rows = rng.integers(low, high, batch_size, endpoint=True)
        columns = rng.integers(low, high, batch_size, endpoint=True)
        batch = torch.stack(
            [
                padded[i, row : row + size, column : column + size]
                for i, row, column in zip(chosen, rows, columns, strict=True)
            ]
        )
        mirrored = torch.from_numpy(rng.random(batch_size) < 0.5)
        batch[mirrored] = batch[mirrored].flip(2)
        yield batch, chosen

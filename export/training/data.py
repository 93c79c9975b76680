"""Small-image data sets held in memory, and their augmentation."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from runtime.console.commandline import remark_skipped
from runtime.core.errors import DataError
from runtime.core.image_sets import ImageFolder

_CROP_PADDING = 4

# Beside (seed, epoch), which draws an epoch: no epoch has this number.
_FLIPS = 2**31


def load_images(path: Path, size: int) -> tuple[Tensor, Tensor, list[str]]:
    """All images of an ImageFolder (folder or zip): uint8 [N, size, size, 3], labels, class names.

    Raises runtime.core.errors.DataError for an unreadable set and for images of another size.
    """
    folder = ImageFolder(str(path))
    remark_skipped(folder)
    images = np.empty((len(folder), size, size, 3), np.uint8)

    def decode(i: int) -> None:
        pixels = np.asarray(folder.open(i))
        if pixels.shape != images.shape[1:]:
            name = folder.samples[i][0]
            height, width = pixels.shape[:2]
            other = f", or give the network their size (INPUT=3x{height}x{width}, --input)"
            raise DataError(
                f"{name}: has {width}x{height} pixels, and the network takes {size}x{size}: resize "
                f"the images{other if height == width else ''}"
            )
        images[i] = pixels

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
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


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which images an epoch takes, in order, and how each is changed: tensors [count].

    Drawn on the CPU whatever trains, so that a seed gives the same images everywhere.

    Attributes:
        chosen: indices into the set.
        rows, columns: of the shifted image's corner in the padded one.
        mirrored: left and right exchanged.
        cut_rows, cut_columns: the centre of the square that is blanked.
    """

    chosen: Tensor
    rows: Tensor
    columns: Tensor
    mirrored: Tensor
    cut_rows: Tensor
    cut_columns: Tensor

    def __len__(self) -> int:
        return len(self.chosen)

    def part(self, start: int, end: int) -> Plan:
        """The images start .. end-1 of it."""
        return self.each(lambda tensor: tensor[start:end])

    def to(self, device: str) -> Plan:
        """The same on another device."""
        return self.each(lambda tensor: tensor.to(device))

    def each(self, change: Callable[[Tensor], Tensor]) -> Plan:
        """The plan whose tensors are these, changed."""
        return Plan(*(change(tensor) for tensor in self._tensors()))

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]


def draw_plan(
    order: NDArray[np.int64], size: int, seed: int, epoch: int, shifts: bool = True
) -> Plan:
    """An epoch's changes of the images `order`, `size` pixels wide and high.

    Shifts are by up to four pixels in each direction. An image that is mirrored in one epoch is not
    in the next (arXiv 2404.00498, section 3.6): two epochs see all there is.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(order)
    count = len(order)
    low, high = (0, 2 * _CROP_PADDING) if shifts else (_CROP_PADDING, _CROP_PADDING)
    first = np.random.default_rng((seed, _FLIPS)).random(int(order.max(initial=0)) + 1) < 0.5
    parts = (
        order,
        rng.integers(low, high, count, endpoint=True),
        rng.integers(low, high, count, endpoint=True),
        first[order] ^ bool(epoch % 2),
        rng.integers(0, size, count),
        rng.integers(0, size, count),
    )
    return Plan(*(torch.from_numpy(part) for part in parts))


def augment(padded: Tensor, plan: Plan) -> Tensor:
    """The images of a plan, shifted and mirrored: uint8 [len(plan),H,W,3], from `reflect_pad`'s.

    The squares are not blanked yet; see `blank_squares`.
    """
    size = padded.shape[1] - 2 * _CROP_PADDING
    along = torch.arange(size, device=padded.device)
    rows = plan.rows[:, None] + along
    columns = plan.columns[:, None] + torch.where(plan.mirrored[:, None], size - 1 - along, along)
    return padded[plan.chosen[:, None, None], rows[:, :, None], columns[:, None, :]]


def blank_squares(inputs: Tensor, plan: Plan, side: int) -> Tensor:
    """Normalized images [N,3,H,W] with a square set to 0, the mean colour (arXiv 1708.04552).

    The square is `side` pixels wide, centred where the plan says and cut off at the border.
    """
    along = torch.arange(inputs.shape[2], device=inputs.device)
    down, across = (
        (along >= centre[:, None] - side // 2) & (along < centre[:, None] - side // 2 + side)
        for centre in (plan.cut_rows, plan.cut_columns)
    )
    return inputs.masked_fill((down[:, :, None] & across[:, None, :])[:, None], 0.0)

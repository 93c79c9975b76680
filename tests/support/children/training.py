"""Trains a network that is small enough for a test; test_training_*.py call it.

    python -m tests.support.children.training --data folder --out folder ...
    torchrun --nproc-per-node 2 -m tests.support.children.training ...

The options are those of export.training.train.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable

import torch

from export.models import MODELS, ModelSpec
from export.models.datasets import CIFAR10
from export.models.ghostshiftaddnet import Bottleneck, GhostShiftAddNet
from export.training import train
from runtime.console.commandline import leave

SIZE = 32


def tiny_network() -> GhostShiftAddNet:
    """Shift and adder layers, BatchNorms, a stride and a sum."""
    rows = [Bottleneck(3, 8, 8, 2), Bottleneck(3, 16, 8, 1)]
    return GhostShiftAddNet(rows, stem=8, stem_stride=1, head=16, classes=len(CIFAR10.labels))


def register(
    setitem: Callable[[dict[str, ModelSpec], str, ModelSpec], None] = operator.setitem,
) -> None:
    """Puts the network into the registry, as "tiny", by `setitem(registry, name, entry)`."""
    numbers = (0.5, 0.5, 0.5)
    spec = ModelSpec(
        "tiny", "", tiny_network, (3, SIZE, SIZE), SIZE, numbers, numbers, CIFAR10.labels, None
    )
    setitem(MODELS, "tiny", spec)


if __name__ == "__main__":
    torch.set_num_threads(1)
    register()
    leave(train.main, ["tiny", "--teacher", "", *sys.argv[1:]])

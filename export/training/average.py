"""A moving average of a network's weights (arXiv 1803.05407, with decay)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Keeps `decay` of itself at each update and takes the rest from the network.

    BatchNorms' running statistics are averaged too: they are near enough to look on by, while those
    of the result are taken afresh. The first updates keep less, so that fresh weights are forgotten.

    Attributes:
        network: the averaged one, in eval mode.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.updates = 0
        self._decay = decay
        self._pairs = _floats(self.network), _floats(network)

    @torch.no_grad()
    def update(self) -> None:
        """Takes a step's new weights in."""
        self.updates += 1
        keep = min(self._decay, self.updates / (10.0 + self.updates))
        own, new = self._pairs
        torch._foreach_lerp_(own, new, 1.0 - keep)


def _floats(network: nn.Module) -> list[Tensor]:
    tensors = [*network.parameters(), *network.buffers()]
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]

"""A moving average of a network's weights (arXiv 1803.05407, with decay)."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class WeightAverage:
    """Keeps `decay` of itself at each update and takes the rest from the network.

    The first updates keep less, so that fresh weights are forgotten. Its BatchNorms' statistics are
    nobody's until `refresh_statistics` has taken them: those of the network do not fit, since an
    adder's sums of |x - w| shrink when the noise of its weights is averaged away.

    Attributes:
        network: the averaged one, in eval mode.
        updates: how many there have been.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.updates = 0
        self._decay = decay
        self._own = [parameter.detach() for parameter in self.network.parameters()]
        self._new = [parameter.detach() for parameter in network.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Takes a step's new weights in."""
        self.updates += 1
        keep = min(self._decay, self.updates / (10.0 + self.updates))
        torch._foreach_lerp_(self._own, self._new, 1.0 - keep)


@torch.no_grad()
def refresh_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Takes the BatchNorms' statistics afresh: their means over these batches of inputs.

    The batches count alike, so they should be of one size. Leaves the network in eval mode.
    """
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches from here
        norm.train()
    for batch in batches:
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()

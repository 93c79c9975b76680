"""A network in float64 with the weights that it has in float32."""

from __future__ import annotations

import copy

import torch
from torch import nn

from export.operators.shift import ShiftConv2d


def float64_copy(network: nn.Module) -> nn.Module:
    """The network in float64 with the weights that it has in float32.

    Shift weights are rounded first: near a boundary of the rounding the logarithm in float64 could
    fall on the other side, which would make it another network.
    """
    exact = copy.deepcopy(network).eval()
    for module in exact.modules():
        if isinstance(module, ShiftConv2d) and module.mode == "q":
            with torch.no_grad():
                module.weight.copy_(module.effective_weight())
    return exact.double()

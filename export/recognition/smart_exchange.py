"""SEConv2d and SELinear of ShiftAddNet's `se_shift`: real-valued layers, for all their name."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.recognition.carried import bias_of, number, pair, refuse_unusual, tensor
from export.recognition.modules import RoundedInput
from export.recognition.roundings import RoundToMultiple
from export.recognition.shift import shift_conv

# Inputs of SEConv2d with a plain weight are rounded to 16 bits' worth of multiples.
_STEP = 2.0**-15


def is_smart_exchange(layer: nn.Module) -> bool:
    """Whether the layer carries `weight`, `p`, `s` and `mask`, or the matrices `C` and `B`."""
    return _has_plain_weight(layer) or _has_factors(layer)


def _has_plain_weight(layer: nn.Module) -> bool:
    found = [tensor(layer, name) for name in ("weight", "p", "s", "mask")]
    return all(value is not None and value.dim() == 4 for value in found)


def _has_factors(layer: nn.Module) -> bool:
    found = [tensor(layer, name) for name in ("C", "B")]
    return all(value is not None and value.dim() == 3 for value in found)


def our_layer(layer: nn.Module, *, keep_fixed_point: bool) -> nn.Module:
    """An ordinary Conv2d or Linear; a ShiftConv2d where every weight is a power of two or 0.

    Raises ValueError for what no layer of ours computes.
    """
    refuse_unusual(layer)
    if not _has_plain_weight(layer):
        return _of_factors(layer)
    weight = tensor(layer, "weight")
    assert weight is not None
    ours = _convolution(layer, weight.detach().float())
    return RoundedInput(RoundToMultiple(_STEP), ours) if keep_fixed_point else ours


def _of_factors(layer: nn.Module) -> nn.Module:
    """The layer's weight is a product of two small matrices, which its own method computes."""
    compute: Any = getattr(layer, "get_weight", None)
    if compute is None:
        raise ValueError("it carries the factors C and B, and no get_weight that multiplies them")
    with torch.no_grad():
        weight = compute().detach().float()
    if weight.dim() == 4:
        return _convolution(layer, weight)
    bias = bias_of(layer)
    ours = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    _fill(ours, weight, bias)
    return ours


def _convolution(layer: nn.Module, weight: Tensor) -> nn.Module:
    bias, groups = bias_of(layer), number(layer, ("groups",), 1)
    stride, padding, dilation = (
        pair(layer, name, default)
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    if _all_powers(weight):
        return shift_conv(
            weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
    ours = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        stride,
        padding,
        dilation,
        groups,
        bias is not None,
    )
    _fill(ours, weight, bias)
    return ours


def _all_powers(weight: Tensor) -> bool:
    """Whether each weight is a power of two or 0, and not all are 0."""
    values = weight.numpy()
    mantissa, _ = np.frexp(np.abs(values))
    return bool(((mantissa == 0.5) | (values == 0)).all() and values.any())


@torch.no_grad()
def _fill(ours: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
    ours.weight.copy_(weight)
    if ours.bias is not None and bias is not None:
        ours.bias.copy_(bias)

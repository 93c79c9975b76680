"""AdderNet's, ShiftAddNet's, GhostShiftAddNet's and torchshiftadd's adder layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.operators import AdderConv2d
from export.recognition.carried import bias_of, number, pair, refuse_unusual, tensor
from export.recognition.modules import RoundedInput
from export.recognition.roundings import RoundToMultiple, UniformQuantize, quantize_channels

# From this number of bits on "wageubn" rounds nothing.
_NO_ROUNDING = 32


def is_adder(layer: nn.Module) -> bool:
    """Whether the layer carries a weight `adder` [M, C/groups, k, k]."""
    weight = tensor(layer, "adder")
    return weight is not None and weight.dim() == 4


def our_adder(layer: nn.Module) -> nn.Module:
    """An AdderConv2d that computes what `layer` does in eval mode, its input rounded if need be.

    Raises ValueError for what it cannot.
    """
    refuse_unusual(layer)
    weight = _weight(layer)
    channels = number(layer, ("input_channel", "in_channels"), weight.shape[1])
    ours = AdderConv2d(
        channels,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        pair(layer, "stride", 1),
        pair(layer, "padding", 0),
        groups=_groups(layer, weight, channels),
        bias=bias_of(layer) is not None,
        eta=getattr(layer, "eta", 0.2),
    )
    bias = bias_of(layer)
    with torch.no_grad():
        ours.weight.copy_(weight)
        if ours.bias is not None and bias is not None:
            ours.bias.copy_(bias)
    rounding = _input_rounding(layer)
    return ours if rounding is None else RoundedInput(rounding, ours)


def _groups(layer: nn.Module, weight: Tensor, channels: int) -> int:
    """The groups that the weight's shape has: GhostShiftAddNet's kernel ignores the argument, and
    its weight is always full, while torchshiftadd's weight has only a group's channels."""
    groups = number(layer, ("groups",), 1)
    if weight.shape[1] == channels:
        return 1
    if weight.shape[1] * groups == channels:
        return groups
    raise ValueError(
        f"its weight has {weight.shape[1]} input channels where {channels} channels in {groups} "
        "groups are stated"
    )


def _weight(layer: nn.Module) -> Tensor:
    weight = tensor(layer, "adder")
    assert weight is not None
    weight = weight.detach().clone().float()
    mask = tensor(layer, "adder_mask")
    if mask is not None:
        # A weight that is masked becomes 0, and goes on costing |x|.
        weight = weight * mask
    if not _quantized(layer):
        return weight
    if mask is not None and hasattr(layer, "groups"):
        # GhostShiftAddNet's copy, alone of all, limits the weights to magnitudes up to 1 first.
        weight = weight.clamp(-1.0, 1.0)
    bits = _bits(layer)
    if _method(layer) == "sbm":
        return quantize_channels(weight, bits)
    if bits >= _NO_ROUNDING:
        return weight
    with torch.no_grad():
        rounded: Tensor = RoundToMultiple(2.0 ** (1 - bits))(weight)
    return rounded


def _input_rounding(layer: nn.Module) -> nn.Module | None:
    if not _quantized(layer):
        return None
    if _method(layer) != "sbm":
        bits = _bits(layer)
        return RoundToMultiple(2.0 ** (1 - bits)) if bits < _NO_ROUNDING else None
    measured = getattr(layer, "quantize_input_fw", None)
    zero_point = None if measured is None else tensor(measured, "running_zero_point")
    extent = None if measured is None else tensor(measured, "running_range")
    if zero_point is None or extent is None:
        raise ValueError("quantize=True without the buffers of quantize_input_fw")
    if zero_point.numel() != 1 or extent.numel() != 1:
        raise ValueError("its input is quantized over more than one range")
    return UniformQuantize(zero_point, extent, _bits(layer))


def _quantized(layer: nn.Module) -> bool:
    return getattr(layer, "quantize", False) is True


def _bits(layer: nn.Module) -> int:
    return number(layer, ("weight_bits",), 8)


def _method(layer: nn.Module) -> str:
    method = getattr(layer, "quantize_v", "sbm")
    if method not in ("sbm", "wageubn"):
        raise ValueError(f"quantize_v={method!r} is not known: 'sbm' or 'wageubn'")
    return str(method)

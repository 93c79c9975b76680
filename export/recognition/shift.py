"""DeepShift's shift layers, PS and Q, and their copies in ShiftAddNet, GhostShiftAddNet and
torchshiftadd (arXiv 1905.13298)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from export.operators import ShiftConv2d
from export.recognition.carried import bias_of, number, pair, refuse_unusual, tensor
from export.recognition.modules import RoundedInput, ShiftLinear
from export.recognition.roundings import FloorToFixedPoint

# The fraction bits of an input: DeepShift's name, its copies', torchshiftadd's.
_FRACTION = ("act_fraction_bits", "quant_bits", "input_bits")
_INTEGER = ("act_integer_bits",)

# The least exponent that a code has, below its channel's largest.
_SPAN = 30


def is_shift(layer: nn.Module) -> bool:
    """Whether the layer carries `shift` and `sign` (PS), or is a `...ShiftQ` with a weight (Q)."""
    return _is_ps(layer) or _is_q(layer)


def _is_ps(layer: nn.Module) -> bool:
    shift, sign = tensor(layer, "shift"), tensor(layer, "sign")
    if shift is None or sign is None:
        return False
    return shift.shape == sign.shape and shift.dim() in (2, 4)


def _is_q(layer: nn.Module) -> bool:
    weight = tensor(layer, "weight")
    named = type(layer).__name__.endswith("ShiftQ")
    return named and weight is not None and weight.dim() in (2, 4)


def our_shift(layer: nn.Module, *, keep_fixed_point: bool, with_bias: bool = True) -> nn.Module:
    """A shift layer of ours that computes what `layer` does in eval mode.

    Args:
        keep_fixed_point: whether the rounding of the input and the bias is kept.
        with_bias: False leaves the bias out, as GhostShiftAddNet's copy does.

    Raises ValueError for what no layer of ours computes.
    """
    refuse_unusual(layer)
    weight = powers(layer)
    bias = bias_of(layer) if with_bias else None
    if bias is not None and keep_fixed_point and _rounds_bias(layer):
        bias = _rounding(layer)(bias.detach())
    if weight.dim() == 2:
        ours: nn.Module = ShiftLinear(shift_conv(weight[:, :, None, None], bias))
    else:
        ours = shift_conv(
            weight,
            bias,
            stride=pair(layer, "stride", 1),
            padding=pair(layer, "padding", 0),
            dilation=pair(layer, "dilation", 1),
            groups=number(layer, ("groups",), 1),
        )
    if keep_fixed_point and rounds_input(layer):
        return RoundedInput(_rounding(layer), ours)
    return ours


def rounds_input(layer: nn.Module) -> bool:
    """Whether the layer rounds its input: all do but LinearShift."""
    return _is_q(layer) or not _is_linear(layer)


def _rounds_bias(layer: nn.Module) -> bool:
    return not _is_linear(layer)


def _is_linear(layer: nn.Module) -> bool:
    weight = tensor(layer, "shift") if _is_ps(layer) else tensor(layer, "weight")
    return weight is not None and weight.dim() == 2


def _rounding(layer: nn.Module) -> FloorToFixedPoint:
    return FloorToFixedPoint(number(layer, _FRACTION, 16), number(layer, _INTEGER, 16))


def powers(layer: nn.Module) -> Tensor:
    """The weights as they act, float32 of the parameters' shape: each 0 or a power of two."""
    if not _is_ps(layer):
        weight = tensor(layer, "weight")
        assert weight is not None
        return _nearest_power(weight.detach().float(), _shift_range(layer))
    shift, sign = tensor(layer, "shift"), tensor(layer, "sign")
    assert shift is not None
    assert sign is not None
    shift, sign = shift.detach().float(), sign.detach().float()
    limits = _shift_range(layer)
    if limits is not None:
        shift = shift.clamp(*limits)
    threshold = getattr(layer, "threshold", None)
    if threshold is None:
        sign = torch.sign(torch.round(sign))
    else:
        sign = torch.sign(sign) * (sign.abs() > threshold)
    return torch.ldexp(sign, torch.round(shift).int())


def _shift_range(layer: nn.Module) -> tuple[float, float] | None:
    """The exponents' bounds; DeepShift's first version has none."""
    limits: Any = getattr(layer, "shift_range", None)
    return None if limits is None else (float(limits[0]), float(limits[1]))


def _nearest_power(weight: Tensor, limits: tuple[float, float] | None) -> Tensor:
    """The power of two by the authors' own formula, in float32: near a boundary of the rounding
    another one could fall on the other side."""
    if limits is not None:
        magnitude = weight.abs().clamp(2.0 ** limits[0], 2.0 ** limits[1])
        weight = torch.where(weight == 0, weight, torch.sign(weight) * magnitude)
    nonzero = torch.where(weight == 0, torch.ones_like(weight), weight.abs())
    exponent = torch.round(torch.log(nonzero) / math.log(2))
    return torch.ldexp(torch.sign(weight), exponent.int())


def shift_conv(
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> ShiftConv2d:
    """A ShiftConv2d with exactly these weights [M, C/groups, kH, kW], each 0 or a power of two.

    A weight below 2^-30 of its channel's largest, which no code holds, becomes 0: float32 would
    lose it in the sum.
    """
    largest = weight.abs().flatten(1).amax(1).view(-1, 1, 1, 1)
    weight = torch.where(weight.abs() < largest * 2.0**-_SPAN, 0.0, weight)
    exponents = torch.log2(weight[weight != 0].abs()).round()
    low, high = (exponents.min(), exponents.max()) if exponents.numel() else (0, 0)
    ours = ShiftConv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        stride,
        padding,
        dilation,
        groups,
        bias is not None,
        min_exponent=min(int(low), 0),
        max_exponent=max(int(high), 0),
    )
    with torch.no_grad():
        ours.weight.copy_(weight)
        if ours.bias is not None and bias is not None:
            ours.bias.copy_(bias)
    return ours

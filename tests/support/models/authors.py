"""Layers with the parameters, the settings and the meaning of the field's own, for the tests.

Their names and attributes are those of AdderNet, DeepShift, ShiftAddNet, GhostShiftAddNet and
torchshiftadd, by which the exporter tells them; the arithmetic is written down here anew, directly
from what each is documented to compute in eval mode.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def l1_distance(x: Tensor, weight: Tensor, stride: int, padding: int, groups: int = 1) -> Tensor:
    """-sum|x - w| over windows, by broadcast differences: [N,C,H,W] to [N,M,OH,OW]."""
    outs = []
    for part, w in zip(x.chunk(groups, 1), weight.chunk(groups, 0), strict=True):
        columns = F.unfold(part, w.shape[2:], padding=padding, stride=stride)
        difference = columns.unsqueeze(1) - w.flatten(1)[None, :, :, None]
        outs.append(-difference.abs().sum(2))
    height = (x.shape[2] + 2 * padding - weight.shape[2]) // stride + 1
    return torch.cat(outs, 1).view(x.shape[0], weight.shape[0], height, -1)


def to_fixed(x: Tensor, fraction: int = 16, integer: int = 16) -> Tensor:
    """Down to multiples of 2^-fraction, within `integer` bits (DeepShift)."""
    bound = 2.0 ** (integer - 1)
    return torch.clamp(torch.floor(x / 2.0**-fraction) * 2.0**-fraction, -bound, bound - 1)


class adder2d(nn.Module):  # noqa: N801 - AdderNet's own spelling
    """AdderNet's layer: `bias` is a flag, the bias itself is `b`."""

    def __init__(
        self,
        input_channel: int,
        output_channel: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.input_channel, self.output_channel = input_channel, output_channel
        self.kernel_size, self.stride, self.padding, self.bias = kernel_size, stride, padding, bias
        self.adder = nn.Parameter(
            torch.randn(output_channel, input_channel, kernel_size, kernel_size)
        )
        if bias:
            self.b = nn.Parameter(torch.rand(output_channel))

    def forward(self, x: Tensor) -> Tensor:
        out = l1_distance(x, self.adder, self.stride, self.padding)
        return out + self.b.view(1, -1, 1, 1) if self.bias else out


class QuantMeasure(nn.Module):
    """The running range over which ShiftAddNet's adders quantize their input."""

    running_zero_point: Tensor
    running_range: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_zero_point", torch.full((1, 1, 1, 1), -3.0))
        self.register_buffer("running_range", torch.full((1, 1, 1, 1), 6.0))

    def levels(self, x: Tensor, bits: int) -> Tensor:
        low, scale = self.running_zero_point, self.running_range / (2.0**bits - 1)
        return torch.round(torch.clamp((x - low) / scale, 0, 2.0**bits - 1)) * scale + low


class Adder2D(nn.Module):
    """ShiftAddNet's (`full=False`) and GhostShiftAddNet's (`full=True`) adder layer.

    The second has a mask always, groups that it ignores, and limits its weights to 1 before it
    quantizes. Its kernel is a CUDA extension: `runs=False` has the forward fail as it does then.
    """

    adder_mask: Tensor

    def __init__(
        self,
        input_channel: int,
        output_channel: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
        eta: float = 0.2,
        groups: int = 1,
        quantize: bool = False,
        weight_bits: int = 8,
        sparsity: float = 0.0,
        quantize_v: str = "sbm",
        full: bool = False,
        runs: bool = True,
    ) -> None:
        super().__init__()
        self.input_channel, self.output_channel = input_channel, output_channel
        self.kernel_size, self.stride, self.padding, self.bias = kernel_size, stride, padding, bias
        self.eta, self.quantize, self.weight_bits = eta, quantize, weight_bits
        self.sparsity, self.quantize_v, self.runs = sparsity, quantize_v, runs
        shape = (output_channel, input_channel, kernel_size, kernel_size)
        self.adder = nn.Parameter(torch.randn(shape))
        if quantize:
            self.quantize_input_fw = QuantMeasure()
        if bias:
            self.b = nn.Parameter(torch.rand(output_channel))
        if full:
            self.groups = groups
        if full or sparsity:
            self.s = nn.Parameter(torch.rand(shape))
            self.register_buffer("adder_mask", (self.s > sparsity).float())

    def forward(self, x: Tensor) -> Tensor:
        if not self.runs:
            raise RuntimeError("no CUDA kernel on this machine")
        return self.means(x)

    def means(self, x: Tensor) -> Tensor:
        """What the layer computes, with or without its kernel."""
        weight = self.adder * self.adder_mask if hasattr(self, "adder_mask") else self.adder
        if self.quantize:
            if hasattr(self, "groups"):
                weight = weight.clamp(-1, 1)
            x, weight = self._quantized(x, weight)
        out = l1_distance(x, weight, self.stride, self.padding)
        return out + self.b.view(1, -1, 1, 1) if self.bias else out

    def _quantized(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        if self.quantize_v == "wageubn":
            step = 2.0 ** (1 - self.weight_bits)
            return torch.round(x / step) * step, torch.round(weight / step) * step
        x = self.quantize_input_fw.levels(x, self.weight_bits)
        flat = weight.flatten(1)
        low = flat.amin(1).view(-1, 1, 1, 1)
        scale = (flat.amax(1).view(-1, 1, 1, 1) - low) / (2.0**self.weight_bits - 1)
        return x, torch.round((weight - low) / scale) * scale + low


class GroupedAdder2D(nn.Module):
    """torchshiftadd's adder layer: it honours its groups, and its bias is a parameter."""

    def __init__(
        self,
        input_channel: int,
        output_channel: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.input_channel, self.output_channel = input_channel, output_channel
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.groups, self.eta = groups, 0.2
        shape = (output_channel, input_channel // groups, kernel_size, kernel_size)
        self.adder = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.rand(output_channel)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        out = l1_distance(x, self.adder, self.stride, self.padding, self.groups)
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)


class _Window(nn.Module):
    """What DeepShift's convolutions take from torch.nn.Conv2d."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = (kernel_size,) * 2, (stride,) * 2
        self.padding, self.dilation = (padding,) * 2, (dilation,) * 2
        self.transposed, self.padding_mode = False, "zeros"
        self.use_kernel = False
        self.bias = nn.Parameter(torch.rand(out_channels) - 0.5) if bias else None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


def _ps_weight(layer: Any) -> Tensor:
    shift = torch.round(layer.shift.clamp(*layer.shift_range))
    if layer.threshold is None:
        sign = torch.sign(torch.round(layer.sign))
    else:
        sign = (layer.sign > layer.threshold).float() - (layer.sign < -layer.threshold).float()
    return sign.to(shift.dtype) * 2.0**shift


class Conv2dShift(_Window):
    """DeepShift's PS convolution (threshold None) and its copies, whose `quant_bits` rounds.

    `drops_bias` is GhostShiftAddNet's copy, which has a bias and does not add it.
    """

    def __init__(
        self,
        *sizes: Any,
        weight_bits: int = 5,
        threshold: float | None = None,
        quant_bits: int = 16,
        drops_bias: bool = False,
        **window: Any,
    ) -> None:
        super().__init__(*sizes, **window)
        self.shift_range = (-(2 ** (weight_bits - 1) - 2), 0)
        self.threshold, self.quant_bits, self.drops_bias = threshold, quant_bits, drops_bias
        self.rounding = "deterministic"
        self.shift = nn.Parameter(torch.empty(self.shape).uniform_(self.shift_range[0] - 1, 1))
        self.sign = nn.Parameter(torch.empty(self.shape).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None or self.drops_bias else to_fixed(self.bias)
        return self.convolve(to_fixed(x, self.quant_bits), _ps_weight(self), bias)


class Conv2dShiftQ(_Window):
    """DeepShift's Q convolution: `limited=False` is its first version, with weights above 1."""

    def __init__(
        self, *sizes: Any, weight_bits: int = 5, limited: bool = True, **window: Any
    ) -> None:
        super().__init__(*sizes, **window)
        if limited:
            self.shift_range = (-(2 ** (weight_bits - 1) - 1), 0)
        self.act_integer_bits, self.act_fraction_bits = 16, 16
        self.weight = nn.Parameter(torch.randn(self.shape) * (0.3 if limited else 3.0))

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else to_fixed(self.bias)
        return self.convolve(to_fixed(x), _q_weight(self), bias)


def _q_weight(layer: Any) -> Tensor:
    weight = layer.weight
    if hasattr(layer, "shift_range"):
        low, high = (2.0**end for end in layer.shift_range)
        weight = torch.sign(weight) * weight.abs().clamp(low, high)
    exponent = torch.round(torch.log(weight.abs()) / math.log(2))
    rounded: Tensor = torch.sign(weight) * 2.0**exponent
    return rounded


class LinearShift(nn.Module):
    """DeepShift's PS linear layer, which rounds no input."""

    def __init__(self, in_features: int, out_features: int, weight_bits: int = 5) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.shift_range, self.threshold = (-(2 ** (weight_bits - 1) - 2), 0), None
        self.use_kernel = False
        self.shift = nn.Parameter(
            torch.empty(out_features, in_features).uniform_(self.shift_range[0], 0)
        )
        self.sign = nn.Parameter(torch.empty(out_features, in_features).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.rand(out_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, _ps_weight(self), self.bias)


class LinearShiftQ(nn.Module):
    """DeepShift's Q linear layer, which rounds its input and not its bias."""

    def __init__(self, in_features: int, out_features: int, weight_bits: int = 5) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.shift_range = (-(2 ** (weight_bits - 1) - 1), 0)
        self.use_kernel = False
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * 0.3)
        self.bias = nn.Parameter(torch.rand(out_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(to_fixed(x), _q_weight(self), self.bias)


class SEConv2d(_Window):
    """ShiftAddNet's: an ordinary convolution over inputs rounded to 2^-15.

    `powers` draws its weights as powers of two, as it does before training.
    """

    def __init__(self, *sizes: Any, powers: bool = False, **window: Any) -> None:
        super().__init__(*sizes, **{"bias": False, **window})
        self.threshold, self.sign_threshold = 5e-3, 0.5
        drawn = torch.randint(-7, 1, self.shape).float()
        sign = torch.randint(-1, 2, self.shape).float()
        self.weight = nn.Parameter(sign * 2.0**drawn if powers else torch.randn(self.shape) * 0.2)
        self.p = nn.Parameter(drawn)
        self.s = nn.Parameter(sign)
        self.register_buffer("mask", (self.weight != 0).float())

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(torch.round(x * 2.0**15) / 2.0**15, self.weight, None)


class SELinear(nn.Module):
    """ShiftAddNet's: a weight that is the product of two small matrices a row."""

    mask: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.C = nn.Parameter(torch.randn(out_features, in_features // 3, 3))
        self.B = nn.Parameter(torch.randn(out_features, 3, 3))
        self.register_buffer("mask", torch.ones(self.C.shape))
        self.bias = nn.Parameter(torch.rand(out_features))

    def get_weight(self) -> Tensor:
        """[out_features, in_features]."""
        return torch.bmm(self.C * self.mask, self.B).reshape(self.out_features, -1)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get_weight(), self.bias)

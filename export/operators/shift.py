"""ShiftConv2d: a convolution whose weights are powers of two (DeepShift, arXiv 1905.13298)."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any, Literal

import torch
from torch import Tensor, nn

from export.operators.geometry import kaiming_std
from export.operators.layer import ConvLayer

Mode = Literal["q", "ps"]

_LARGEST = 126
"""No exponent is further from 0: float32's ordinary numbers end there."""


def round_to_power_of_two(
    weight: Tensor, min_exponent: int, max_exponent: int = 0, span: int | None = None
) -> Tensor:
    """sign(w) * 2^round(log2|w|), the exponent clipped to [min_exponent, max_exponent].

    With a `span`, each output channel (dimension 0) keeps that many exponents, down from its
    largest weight's. Any floating dtype; a weight of exactly 0 stays 0. DeepShift-Q, eq. 5 and 6.
    """
    exponent = torch.round(torch.log2(weight.abs())).clamp(min_exponent, max_exponent)
    if span is not None:
        top = exponent.flatten(1).amax(1).view(-1, *[1] * (weight.dim() - 1))
        exponent = torch.maximum(exponent, top - (span - 1))
    return torch.sign(weight) * torch.exp2(exponent)


def _straight_through(rounded: Tensor, latent: Tensor) -> Tensor:
    """The value of `rounded` with the gradient of the identity in `latent` (arXiv 1308.3432)."""
    return latent + (rounded - latent).detach()


class _RoundedOnGpu(torch.autograd.Function):
    """The rounding by the GPU's kernel, with the gradient of the identity."""

    @staticmethod
    def forward(
        ctx: Any, latent: Tensor, min_exponent: int, max_exponent: int, span: int | None
    ) -> Tensor:
        # What a convolution under autocast is computed in, if all powers are exact in it.
        mixed = torch.is_autocast_enabled("cuda")
        exact = mixed and torch.get_autocast_dtype("cuda") == torch.bfloat16
        dtype = torch.bfloat16 if exact else latent.dtype
        ctx.latent_dtype = latent.dtype
        from export.operators import shift_triton

        return shift_triton.round_to_power_of_two(latent, min_exponent, max_exponent, span, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return grads[0].to(ctx.latent_dtype), None, None, None


@functools.lru_cache(maxsize=1)
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _triton_serves(weight: Tensor) -> bool:
    """Whether the GPU's kernel rounds this weight; Triton may not be installed."""
    if not weight.is_cuda or not _has_triton():
        return False
    from export.operators import shift_triton

    return shift_triton.serves(weight)


class ShiftConv2d(ConvLayer):
    """A 2-D convolution with weights in {0, +-2^-p}.

    Input [N, in_channels, H, W], output [N, out_channels, OH, OW], float32.

    Modes (arXiv 1905.13298, section 3):
        "q":  a float `weight` [M, C/g, kH, kW], rounded in the log domain at every use;
              exponents [-(2^(bits-1) - 1), 0].
        "ps": float `shift` and `sign` of that shape, both rounded; sign in {-1, 0, 1};
              exponents [-(2^(bits-1) - 2), 0].
    Gradients pass the roundings straight through.

    `min_exponent` and `max_exponent` replace the ends of the range. What a channel's weights share
    beyond the contract's codes, 1 to 2^-30, the exporter moves into `scale`.
    `span` (mode "q") lets each output channel keep that many exponents, down from its largest
    weight's. 7 of them fit the contract's 4-bit code, whose magnitudes are 1 to 1/64: what the
    channel is short of 1 by is a power of two, which the exporter moves into `scale`. A fixed range
    would be spent on exponents that no weight has, since weights of a wide layer before a
    BatchNorm are all small.
    `padding` is one number, (height, width), or (top, left, bottom, right).

    Raises ValueError for arguments that do not fit together and for inputs of another shape.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        mode: Mode = "q",
        bits: int = 5,
        min_exponent: int | None = None,
        max_exponent: int = 0,
        span: int | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        if mode not in ("q", "ps"):
            raise ValueError(f'mode must be "q" or "ps", got {mode!r}')
        if not 2 <= bits <= 6:
            raise ValueError(f"bits must be 2 to 6 (exponents down to -30), got {bits}")
        lowest = -(2 ** (bits - 1) - (1 if mode == "q" else 2))
        self.min_exponent = max(lowest, -30) if min_exponent is None else min_exponent
        self.max_exponent = max_exponent
        if not 0 <= max_exponent <= _LARGEST:
            raise ValueError(f"max_exponent must be 0 to {_LARGEST}, got {max_exponent}")
        if not -_LARGEST <= self.min_exponent <= 0:
            raise ValueError(f"min_exponent must be -{_LARGEST} to 0, got {self.min_exponent}")
        if span is not None and (mode != "q" or span < 1):
            raise ValueError(f'span must be at least 1, in mode "q", got {span} in mode {mode!r}')
        self.span = span
        self.mode = mode
        shape = self.weight_shape
        initial = torch.randn(shape) * kaiming_std(shape[1] * shape[2] * shape[3])
        if mode == "q":
            self.weight = nn.Parameter(initial)
        else:
            exponent = torch.log2(initial.abs()).clamp(self.min_exponent, 0)
            self.shift = nn.Parameter(exponent)
            self.sign = nn.Parameter(torch.sign(initial))

    def effective_weight(self) -> Tensor:
        """The weights as they act: float32 [M, C/g, kH, kW], each 0 or +-2^-p."""
        if self.mode == "q":
            if self.training and _triton_serves(self.weight):
                acting: Tensor = _RoundedOnGpu.apply(
                    self.weight, self.min_exponent, self.max_exponent, self.span
                )
                return acting
            rounded = round_to_power_of_two(
                self.weight, self.min_exponent, self.max_exponent, self.span
            )
            return _straight_through(rounded, self.weight)
        shift = self.shift.clamp(self.min_exponent, self.max_exponent)
        shift = _straight_through(torch.round(shift), shift)
        sign = self.sign.clamp(-1, 1)
        return torch.exp2(shift) * _straight_through(torch.round(sign), sign)

    def sum_terms(self, x: Tensor) -> Tensor:
        return self.window.conv2d(x, self.effective_weight(), self.groups)

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, mode={self.mode}, min_exponent={self.min_exponent}, "
            f"max_exponent={self.max_exponent}, span={self.span}"
        )

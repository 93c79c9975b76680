"""AdderConv2d: a layer of absolute differences (AdderNet, arXiv 1912.13200)."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from export.operators import native
from export.operators.geometry import Window
from export.operators.layer import ConvLayer

# Elements of the [rows, outputs, depth] differences held at a time where no kernel serves: 64 MB.
_CHUNK_ELEMENTS = 1 << 24

ADAPTIVE_RATE = 0.2
"""eta of AdderNet's adaptive learning rate (arXiv 1912.13200, eq. 12; 0.2 in the authors' code)."""

reduce_gradient: Callable[[Tensor], object] | None = None
"""Adds the weight's gradients of other processes to this one's, in place, before it is rescaled.

The adaptive rate is not linear: that of a batch's parts is not a part of the batch's.
"""


@functools.lru_cache(maxsize=1)
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _triton_serves(*tensors: Tensor) -> bool:
    """Whether the GPU kernels take these: float32 on one GPU, and Triton is installed."""
    fit = all(t.is_cuda and t.dtype == torch.float32 for t in tensors)
    return fit and len({t.device for t in tensors}) == 1 and _has_triton()


def _forward(x: Tensor, w: Tensor) -> Tensor:
    if native.serves(x, w):
        return native.adder_forward(x, w)
    if _triton_serves(x, w):
        # Here, as Triton may not be installed and takes a second to import.
        from export.operators import adder_triton

        return adder_triton.adder_forward(x, w)
    return -torch.cdist(x, w, p=1.0)


def _input_grad(x: Tensor, w: Tensor, grad: Tensor) -> Tensor:
    if native.serves(x, w, grad):
        return native.adder_input_grad(x, w, grad)
    if _triton_serves(x, w, grad):
        from export.operators import adder_triton

        return adder_triton.adder_input_grad(x, w, grad)
    rows = max(1, _CHUNK_ELEMENTS // max(1, w.numel()))
    parts = [
        torch.einsum("rm,rmk->rk", g, (w - part.unsqueeze(1)).clamp(-1, 1))
        for part, g in zip(x.split(rows), grad.split(rows), strict=True)
    ]
    return torch.cat(parts)


class _AdderMatrix(torch.autograd.Function):
    """y[r,m] = -sum_k |x[r,k] - w[m,k]| with AdderNet's gradients (eq. 5 and 6)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, eta: float | None) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.eta = eta
        return _forward(x, w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, w = ctx.saved_tensors
        (grad,) = grads
        grad_x = _input_grad(x, w, grad) if ctx.needs_input_grad[0] else None
        # The gradient is x - w rather than its sign, so the sum over the rows is a matrix product.
        grad_w = torch.addmm(w * -grad.sum(0).unsqueeze(1), grad.t(), x)
        if ctx.eta is not None:
            if reduce_gradient is not None:
                reduce_gradient(grad_w)
            norm = grad_w.norm().clamp_min(torch.finfo(grad_w.dtype).tiny)
            grad_w = grad_w * (ctx.eta * grad_w.numel() ** 0.5 / norm)
        return grad_x, grad_w, None


def _matrices(x: Tensor, weight: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Patches [N*OH*OW, K] and weights [M, K] whose sums of differences are the layer's outputs."""
    if window.is_pointwise or not x.is_cuda:
        return window.patches(x), weight.flatten(1)
    # PyTorch's unfold launches a kernel for every image of a batch on a GPU: for 3x3 layers half of
    # a step's time. Slices beside each other, with the channels last, are one copy.
    padded = window.pad(x).permute(0, 2, 3, 1)
    height, width = window.output_size(x.shape[2], x.shape[3])
    (down, across), (rows, columns) = window.strides, window.dilations
    slices = [
        padded[
            :,
            i * rows : i * rows + (height - 1) * down + 1 : down,
            j * columns : j * columns + (width - 1) * across + 1 : across,
        ]
        for i in range(window.kernel_shape[0])
        for j in range(window.kernel_shape[1])
    ]
    patches = torch.cat(slices, 3)
    return patches.reshape(-1, patches.shape[3]), weight.permute(0, 2, 3, 1).flatten(1)


def adder_conv2d(
    x: Tensor, weight: Tensor, window: Window, groups: int = 1, eta: float | None = None
) -> Tensor:
    """-sum |x_pad - w| over a sliding window; a padded position is the value 0.

    Args:
        x: [N, C, H, W]. Channels-last memory spares two copies for 1x1 layers.
        weight: [M, C/groups, kH, kW].
        eta: rescales the weight's gradient to eta*sqrt(k)/||g||, k its number of elements
            (eq. 12), over all groups' weights of a group separately; None leaves it alone.

    Returns:
        [N, M, OH, OW], in the memory format of x.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(weight.dtype)  # a sum of hundreds of differences wants float32's digits
    batch, channels, height, width = x.shape
    out_height, out_width = window.output_size(height, width)
    size = channels // groups
    parts = [
        _AdderMatrix.apply(*_matrices(x[:, i * size : (i + 1) * size], w, window), eta)
        for i, w in enumerate(weight.chunk(groups))
    ]
    out = parts[0] if groups == 1 else torch.cat(parts, 1)
    out = out.view(batch, out_height, out_width, -1).permute(0, 3, 1, 2)
    return out if _is_channels_last(x) else out.contiguous()


def _is_channels_last(x: Tensor) -> bool:
    """Whether a position's channels are neighbours in memory, which holds for slices of a
    channels-last tensor, too; a tensor that is both counts as contiguous."""
    return x.stride(1) == 1 and not x.is_contiguous()


class AdderConv2d(ConvLayer):
    """A 2-D layer of negated L1 distances between patches and filters; no multiplication.

    Input [N, in_channels, H, W], output [N, out_channels, OH, OW], float32, in the memory format
    of the input. The output is large and negative (about -K*E|x-w|, K = C/g*kH*kW): a BatchNorm
    has to follow.
    Gradients are AdderNet's: x-w for the weight, clip(w-x, -1, 1) for the input, and the weight's
    gradient is rescaled to eta*sqrt(k)/||g|| unless `eta` is None.
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
        eta: float | None = ADAPTIVE_RATE,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self.eta = eta
        self.weight = nn.Parameter(torch.randn(self.weight_shape))

    def sum_terms(self, x: Tensor) -> Tensor:
        return adder_conv2d(x, self.weight, self.window, self.groups, self.eta)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, eta={self.eta}"

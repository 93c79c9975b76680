"""What the exporter cannot write, in operators that it can: the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Decompositions(TorchFunctionMode):
    """While it is entered, functions of the table are computed by other ones."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        replacement = _TABLE.get(func)
        result = NotImplemented if replacement is None else replacement(*args, **kwargs)
        return func(*args, **kwargs) if result is NotImplemented else result


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """By the statistics of the batch itself, where the layer keeps none (arXiv 1502.03167)."""
    if not training and running_mean is not None and running_var is not None:
        return NotImplemented
    axes = [axis for axis in range(x.dim()) if axis != 1]
    column = [1, -1] + [1] * (x.dim() - 2)
    centred = x - x.mean(axes, keepdim=True)
    out = centred / torch.sqrt((centred * centred).mean(axes, keepdim=True) + eps)
    out = out if weight is None else out * weight.view(column)
    return out if bias is None else out + bias.view(column)


def _group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Group normalisation (arXiv 1803.08494): of instances, whose channels are the groups."""
    column = [1, -1] + [1] * (x.dim() - 2)
    out: Tensor = F.instance_norm(x.reshape(x.shape[0], num_groups, -1), eps=eps).reshape(x.shape)
    out = out if weight is None else out * weight.view(column)
    return out if bias is None else out + bias.view(column)


def _channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """ShuffleNet's (arXiv 1707.01083): [groups, C/groups] transposed."""
    grouped: Tensor = x.unflatten(1, (groups, -1))
    return grouped.transpose(1, 2).flatten(1, 2)


def _conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """As a convolution of images with one row: TensorRT 8.2 has none of fewer axes."""
    if not isinstance(padding, str):
        padding = (0, *_one(padding))
    out: Tensor = F.conv2d(
        x.unsqueeze(-2),
        weight.unsqueeze(-2),
        bias,
        (1, *_one(stride)),
        padding,
        (1, *_one(dilation)),
        groups,
    )
    return out.squeeze(-2)


def _one(value: Any) -> tuple[int]:
    return (value,) if isinstance(value, int) else tuple(value)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *rest: Any,
    **more: Any,
) -> Any:
    """softmax(q k^T / sqrt(d)) v (arXiv 1706.03762), where nothing is masked."""
    if attn_mask is not None or rest or any(more.values()):
        return NotImplemented
    weights = (query @ key.transpose(-2, -1)) * query.shape[-1] ** -0.5
    return weights.softmax(-1) @ value


def _adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Any:
    """By one matrix for each direction, where the windows are not all of one size."""
    sizes = (output_size,) * 2 if isinstance(output_size, int) else output_size
    extents = [int(x.shape[axis]) for axis in (-2, -1)]
    wanted = [extent if size is None else size for extent, size in zip(extents, sizes, strict=True)]
    if all(extent % size == 0 for extent, size in zip(extents, wanted, strict=True)):
        return NotImplemented
    # Made by NumPy, of which the tracer records nothing but the result.
    rows, columns = (
        torch.from_numpy(_averages(extent, size)).to(x)
        for extent, size in zip(extents, wanted, strict=True)
    )
    return torch.matmul(torch.matmul(rows, x), columns.t())


def _averages(extent: int, size: int) -> npt.NDArray[np.float32]:
    """[size, extent]: row i averages from floor(i*extent/size) to ceil((i+1)*extent/size)."""
    matrix = np.zeros((size, extent), np.float32)
    for i in range(size):
        start, end = i * extent // size, -(-(i + 1) * extent // size)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


_TABLE: dict[Any, Callable[..., Any]] = {
    F.batch_norm: _batch_norm,
    F.group_norm: _group_norm,
    F.channel_shuffle: _channel_shuffle,
    F.conv1d: _conv1d,
    F.scaled_dot_product_attention: _attention,
    F.adaptive_avg_pool2d: _adaptive_avg_pool2d,
}

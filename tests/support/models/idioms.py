"""Ordinary PyTorch around our layers: each entry is one way of writing something that people use.

A network is a shift layer, a BatchNorm, what the entry does `between`, a second layer and a head.
Inputs are [N, 3, 16, 16], outputs [N, 10].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from export.operators import AdderConv2d, ShiftConv2d

SIZE = (3, 16, 16)
CLASSES = 10
_CHANNELS = 8
_SECOND: dict[str, Callable[..., nn.Module]] = {
    "adder": AdderConv2d,
    "shift": ShiftConv2d,
    "conv": nn.Conv2d,
}

Step = Callable[[Tensor], Tensor]


class IdiomNet(nn.Module):
    """[N, 3, 16, 16] to [N, 10]; `between` gets [N, 8, 8, 8]."""

    def __init__(
        self,
        between: Step | None = None,
        head: Callable[[IdiomNet, Tensor], Any] | None = None,
        second: str = "adder",
    ) -> None:
        super().__init__()
        self.first = ShiftConv2d(3, _CHANNELS, 3, stride=2, padding=1, span=7)
        self.norm = nn.BatchNorm2d(_CHANNELS)
        self.between = between or nn.Identity()
        with torch.no_grad():
            channels = self.between(torch.zeros(2, _CHANNELS, 8, 8)).shape[1]
        self.second = _SECOND[second](channels, _CHANNELS, 3, padding=1)
        self.head = head or _mean_head
        self.classifier = nn.Linear(_CHANNELS, CLASSES)

    def forward(self, x: Tensor) -> Any:
        x = self.between(F.relu(self.norm(self.first(x))))
        return self.head(self, self.second(x))


def _mean_head(net: IdiomNet, x: Tensor) -> Tensor:
    logits: Tensor = net.classifier(x.mean((2, 3)))
    return logits


class Gate(nn.Module):
    """Squeeze-and-excitation with `view`, as most code has it (arXiv 1709.01507)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        gate: Tensor = self.fc(F.adaptive_avg_pool2d(x, 1).view(b, c))
        return x * gate.view(b, c, 1, 1).expand_as(x)


class ConvolutionalGate(nn.Module):
    """The same by 1x1 convolutions and a hard sigmoid (arXiv 1905.02244)."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.relu6(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))) + 3) / 6


class ChannelAttention(nn.Module):
    """A gate by a convolution along the channels (arXiv 1910.03151)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2))
        return x * y.transpose(-1, -2).unsqueeze(-1).sigmoid()


class SelfAttention(nn.Module):
    """Attention over positions, with a class token that is dropped again (arXiv 2010.11929)."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1)
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        tokens = F.scaled_dot_product_attention(tokens, tokens, tokens)
        return tokens[:, 1:].transpose(1, 2).reshape(x.shape)


class ChannelsLastNorm(nn.Module):
    """LayerNorm over channels, by permutation (arXiv 2201.03545)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class Coordinates(nn.Module):
    """Two channels of coordinates that forward makes (arXiv 1807.03247)."""

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        rows = torch.arange(h).float().view(1, 1, h, 1).expand(n, 1, h, w) / h
        columns = torch.linspace(0, 1, w).view(1, 1, 1, w).repeat(n, 1, h, 1)
        return torch.cat([x, rows, columns], 1)


class DropPath(nn.Module):
    """Stochastic depth, which is the identity in eval mode (arXiv 1603.09382)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * torch.empty(x.shape[0], 1, 1, 1).bernoulli_(0.9)


def _shuffle_by_sizes(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def _shuffle_by_size_calls(x: Tensor) -> Tensor:
    batch, channels, height, width = x.data.size()
    x = x.reshape(batch, 4, int(channels / 4), height, width)
    return x.permute(0, 2, 1, 3, 4).reshape(batch, channels, height, width)


def _shuffle_batch_merged(x: Tensor) -> Tensor:
    """The official ShuffleNetV2's: batch and channels share an axis on the way."""
    n, c, h, w = x.data.size()
    x = x.reshape(n * c // 2, 2, h * w).permute(1, 0, 2)
    return torch.cat(list(x.reshape(2, -1, c // 2, h, w)), 1)


def _untracked_norm(channels: int) -> nn.Module:
    norm = nn.BatchNorm2d(channels, track_running_stats=False)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    return norm


def _assign(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :4] = x[:, 4:] * 2
    return y


def _in_place(x: Tensor) -> Tensor:
    y = x * 2
    y += 1
    return y.clamp_(max=3).relu_()


_BETWEEN: dict[str, Callable[[], Step]] = {
    "shuffle_by_sizes": lambda: _shuffle_by_sizes,
    "shuffle_by_size_calls": lambda: _shuffle_by_size_calls,
    "shuffle_batch_merged": lambda: _shuffle_batch_merged,
    "shuffle_flatten": lambda: lambda x: x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2),
    "shuffle_function": lambda: lambda x: F.channel_shuffle(x, 4),
    "shuffle_module": lambda: nn.ChannelShuffle(2),
    "shuffle_by_index": lambda: lambda x: x[:, torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])],
    "shuffle_by_stack": lambda: lambda x: torch.stack(x.chunk(2, 1), 2).flatten(1, 2),
    "chunk_and_swap": lambda: lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "split_evenly": lambda: lambda x: sum(x.split(2, 1)),
    "split_unevenly": lambda: lambda x: torch.cat(x.split([3, 5], 1)[::-1], 1),
    "split_by_half_the_channels": lambda: lambda x: x.split(x.size(1) // 2, dim=1)[1],
    "tensor_split": lambda: lambda x: torch.cat(x.tensor_split(3, 1)[::-1], 1),
    "unbind_and_stack": lambda: lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "pad_constant": lambda: lambda x: F.pad(x, (1, 2, 0, 1), value=0.5),
    "pad_reflect": lambda: lambda x: F.pad(x, (1, 2, 3, 1), mode="reflect"),
    "pad_replicate": lambda: nn.ReplicationPad2d(1),
    "pad_circular": lambda: lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"),
    "pad_negative": lambda: lambda x: F.pad(x, (-1, -1, 0, -2)),
    "pad_module": lambda: nn.ZeroPad2d((0, 1, 0, 1)),
    "pad_channels": lambda: lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)),
    "pad_to_even": lambda: lambda x: F.pad(x, (0, x.shape[-1] % 3, 0, x.shape[-2] % 3)),
    "upsample_to_size": lambda: lambda x: F.interpolate(x, size=(10, 11)),
    "upsample_by_factor": lambda: lambda x: F.interpolate(x, scale_factor=2.0),
    "upsample_like": lambda: lambda x: x + F.interpolate(F.avg_pool2d(x, 2), size=x.shape[2:]),
    "upsample_module": lambda: nn.Upsample(scale_factor=2, mode="nearest"),
    "upsample_bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "upsample_corners": lambda: nn.UpsamplingBilinear2d(size=(12, 12)),
    "pixel_shuffle": lambda: nn.PixelShuffle(2),
    "pixel_unshuffle": lambda: nn.PixelUnshuffle(2),
    "group_norm": lambda: nn.GroupNorm(2, 8),
    "group_norm_plain": lambda: lambda x: F.group_norm(x, 4),
    "layer_norm": lambda: nn.LayerNorm([8, 8, 8]),
    "layer_norm_channels_last": ChannelsLastNorm,
    "instance_norm": lambda: nn.InstanceNorm2d(8, affine=True),
    "untracked_norm": lambda: _untracked_norm(8),
    "norm_by_the_batch": lambda: lambda x: F.batch_norm(x, None, None, training=True),
    "response_norm": lambda: nn.LocalResponseNorm(3),
    "gate_by_view": Gate,
    "gate_by_convolutions": ConvolutionalGate,
    "gate_along_channels": ChannelAttention,
    "self_attention": SelfAttention,
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Conv2d(8, 8, 3)),
    "activations": lambda: nn.Sequential(
        nn.Hardswish(), nn.SiLU(), nn.GELU(), nn.Hardsigmoid(), nn.LeakyReLU(), nn.ELU(), nn.Tanh()
    ),
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "prelu": lambda: nn.PReLU(8),
    "softmax_channels": lambda: nn.Softmax(dim=1),
    "softmax_positions": lambda: lambda x: x.flatten(2).softmax(-1).view_as(x),
    "transposed_convolution": lambda: nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1),
    "grouped_convolution": lambda: nn.Conv2d(8, 8, 3, padding="same", groups=4),
    "reflecting_convolution": lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Conv2d(8, 8, 3)),
    "weight_norm_by_hook": lambda: nn.utils.weight_norm(nn.Conv2d(8, 8, 3)),
    "max_pool": lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "average_pool": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    "adaptive_pool": lambda: nn.AdaptiveAvgPool2d((4, None)),
    "adaptive_pool_unevenly": lambda: nn.AdaptiveAvgPool2d((3, 5)),
    "adaptive_pool_upwards": lambda: lambda x: F.adaptive_avg_pool2d(F.avg_pool2d(x, 8), 7),
    "adaptive_max_pool": lambda: nn.AdaptiveMaxPool2d(4),
    "strided_slices": lambda: lambda x: x[:, ::2, 1:-1, 1::2],
    "roll": lambda: lambda x: torch.roll(x, (1, -2), (2, 3)),
    "flip": lambda: lambda x: x.flip(3),
    "rotate_channels": lambda: lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
    "narrow": lambda: lambda x: x.narrow(1, 2, 5),
    "normalise": lambda: lambda x: F.normalize(x, dim=1),
    "standardise": lambda: lambda x: (x - x.mean((2, 3), True)) / (x.std((2, 3), keepdim=True) + 1),
    "reductions": lambda: lambda x: x.amax(1, True) + x.amin((2, 3), True) + x.sum(1, keepdim=True),
    "zeros_concatenated": lambda: lambda x: torch.cat([x, torch.zeros(x.size(0), 2, 8, 8)], 1),
    "zeros_like_concatenated": lambda: lambda x: torch.cat([x, torch.zeros_like(x)], 1),
    "ones_of_a_new_shape": lambda: lambda x: x + x.new_ones(x.shape[0], 1, 8, 1),
    "coordinates": Coordinates,
    "where": lambda: lambda x: torch.where(x > 0.5, x, x * 0.1),
    "masked_fill": lambda: lambda x: x.masked_fill(x < 0.2, -1.0),
    "assigned_slice": lambda: _assign,
    "in_place": lambda: _in_place,
    "transposed_map": lambda: lambda x: x.transpose(2, 3),
    "batch_first_moved": lambda: lambda x: x.permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3),
    "attention": lambda: lambda x: torch.bmm(
        (x.flatten(2).transpose(1, 2) @ x.flatten(2) / 8).softmax(-1), x.flatten(2).transpose(1, 2)
    ).transpose(1, 2).reshape(x.shape),
    "einsum": lambda: lambda x: torch.einsum("nchw,dc->ndhw", x, torch.eye(8).flip(0).to(x)),
    "dropouts": lambda: nn.Sequential(nn.Dropout2d(0.5), nn.Dropout(0.2), DropPath()),
    "size_as_a_factor": lambda: lambda x: x.flatten(2).sum(2).view(len(x), -1, 1, 1) / x[0].numel(),
}  # fmt: skip


def _two_heads(net: IdiomNet, x: Tensor) -> Tensor:
    """Sums and products of rank 2."""
    first, second = net.classifier(x.mean((2, 3))), net.classifier(x.amax((2, 3)))
    logits: Tensor = first + second * first
    return logits


_HEADS: dict[str, Callable[[IdiomNet, Tensor], Any]] = {
    "view_batch": lambda net, x: net.classifier(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)),
    "view_channels": lambda net, x: net.classifier(F.adaptive_avg_pool2d(x, 1).view(-1, 8)),
    "view_by_length": lambda net, x: net.classifier(x.amax((2, 3)).view(len(x), -1)),
    "view_by_an_int": lambda net, x: net.classifier(x.amax((2, 3)).reshape(int(x.shape[0]), 8)),
    "flatten": lambda net, x: net.classifier(torch.flatten(F.adaptive_max_pool2d(x, 1), 1)),
    "flatten_positions": lambda net, x: net.classifier(x.flatten(2).mean(-1)),
    "squeeze": lambda net, x: net.classifier(F.adaptive_avg_pool2d(x, 1).squeeze()),
    "squeeze_twice": lambda net, x: net.classifier(
        F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1)
    ),
    "pool_by_size": lambda net, x: net.classifier(F.avg_pool2d(x, x.size()[2:]).flatten(1)),
    "pool_by_side": lambda net, x: net.classifier(F.avg_pool2d(x, x.shape[-1])[:, :, 0, 0]),
    "mean_twice": lambda net, x: net.classifier(x.mean(-1).mean(-1)),
    "sequence": lambda net, x: net.classifier(x.flatten(2).transpose(1, 2)).mean(1),
    "two_vectors": _two_heads,
    "concatenated_vectors": lambda net, x: torch.cat(
        [net.classifier(x.mean((2, 3)))[:, :5], net.classifier(x.amax((2, 3)))[:, 5:]], 1
    ),
    "stacked_heads": lambda net, x: torch.stack(
        [net.classifier(x.mean((2, 3))), net.classifier(x.amax((2, 3)))]
    ).mean(0),
    "log_softmax": lambda net, x: F.log_softmax(net.classifier(x.mean((2, 3))), dim=1),
    "tuple": lambda net, x: (net.classifier(x.mean((2, 3))), x.amax((2, 3))),
    "dictionary": lambda net, x: {"out": net.classifier(x.mean((2, 3))), "features": x},
}


@dataclass(frozen=True)
class Idiom:
    """One entry; `build` gives its network with fresh weights, in eval mode."""

    name: str
    build: Callable[[], IdiomNet]


def _fresh(network: IdiomNet) -> IdiomNet:
    nn.init.uniform_(network.norm.weight, 0.5, 1.5)
    nn.init.uniform_(network.norm.bias, -0.2, 0.5)
    return network.eval()


def _between(name: str, second: str) -> Idiom:
    return Idiom(name, lambda: _fresh(IdiomNet(_BETWEEN[name](), second=second)))


def _head(name: str, second: str) -> Idiom:
    return Idiom(name, lambda: _fresh(IdiomNet(head=_HEADS[name], second=second)))


def _all() -> Iterator[Idiom]:
    kinds = list(_SECOND)
    for index, name in enumerate(_BETWEEN):
        yield _between(name, kinds[index % len(kinds)])
    for index, name in enumerate(_HEADS):
        yield _head(name, kinds[index % len(kinds)])


IDIOMS = {idiom.name: idiom for idiom in _all()}

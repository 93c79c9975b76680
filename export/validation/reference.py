"""The PyTorch side: which modules one exported node stands for, and what they compute in float64.

A node holds a layer with the BatchNorm and the activation behind it. Which modules these are
follows from the flow of the data and not from names: hooks see the input and the output of every
module, and a module that is called with the output tensor of a layer follows it. So this also works
for networks that do not keep their layers in a Sequential.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.operator_table import ACTIVATIONS
from export.operators import AdderConv2d, ShiftConv2d, adder_conv2d
from export.operators.exact import float64_copy
from export.operators.geometry import Window, four_pads
from export.validation.exported import LayerNode
from runtime.core.errors import ModelError

Array = npt.NDArray[Any]
Layer = ShiftConv2d | AdderConv2d | nn.Conv2d | nn.Linear

LAYERS = (ShiftConv2d, AdderConv2d, nn.Conv2d, nn.Linear)
_ACTIVATIONS: dict[str, nn.Module] = {
    name: getattr(nn, activation.module)() for name, activation in ACTIVATIONS.items()
}
_ACTIVATION_MODULES = tuple(type(module) for name, module in _ACTIVATIONS.items() if name != "none")


@dataclass(frozen=True)
class Call:
    """One use of a module without children; from the second use on `name` ends in a number."""

    name: str
    module: nn.Module
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Chain:
    """The modules behind one node.

    Attributes:
        last: the name of the call whose output, put through `function`, is the node's output. It is
            an activation where the network has a module for that: what counts is what the network
            computes, not the node's attribute.
        function: the activation where it is no module; the identity otherwise.
    """

    node: LayerNode
    layer: Layer
    norm: nn.BatchNorm2d | None
    function: Callable[[Tensor], Tensor]
    last: str

    def exact(self, x: Array) -> tuple[Array, Array]:
        """The output before the activation and its magnitude |scale| * sum|terms| + |bias|, in
        float64."""
        with torch.no_grad():
            sums, magnitude = _sums(self.layer, torch.from_numpy(x).double())
            scale, bias = self._scale_and_bias()
            shape = (-1,) if isinstance(self.layer, nn.Linear) else (-1, 1, 1)
            scale, bias = scale.view(shape), bias.view(shape)
            return (sums * scale + bias).numpy(), (magnitude * scale.abs() + bias.abs()).numpy()

    def _scale_and_bias(self) -> tuple[Tensor, Tensor]:
        channels = _out_channels(self.layer)
        scale = torch.ones(channels, dtype=torch.float64)
        bias = torch.zeros_like(scale) if self.layer.bias is None else self.layer.bias
        if self.norm is None:
            return scale, bias
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        scale = scale if norm.weight is None else scale * norm.weight
        shift = torch.zeros_like(scale) if norm.bias is None else norm.bias
        return scale, (bias - norm.running_mean) * scale + shift


def _can_be_folded(module: nn.Module) -> bool:
    """Whether it is a BatchNorm with statistics of its own; one without takes each batch's."""
    return isinstance(module, nn.BatchNorm2d) and module.running_mean is not None


class Reference:
    """A network in eval mode: in float32 as it is, and in float64 as the reference."""

    def __init__(self, network: nn.Module, input_size: tuple[int, int, int]) -> None:
        self.network = network.eval()
        self.exact_network = float64_copy(network)
        self._calls = _trace(self.exact_network, torch.zeros(1, *input_size).double())

    def chain(self, node: LayerNode) -> Chain | None:
        """The modules that a node stands for; None for a node that is not named after a layer."""
        for position, call in enumerate(self._calls):
            if call.name == node.name and isinstance(call.module, LAYERS):
                return self._chain(node, position)
        return None

    def missing(self, nodes: Iterable[LayerNode]) -> list[str]:
        """The layers of the network that none of `nodes` is named after."""
        named = {node.name for node in nodes}
        layers = (call.name for call in self._calls if isinstance(call.module, LAYERS))
        return [name for name in layers if name not in named]

    def logits(self, images: Array) -> tuple[Array, Array]:
        """The logits in float32 and in float64, [N, classes]."""
        x = torch.from_numpy(images)
        with torch.no_grad():
            return self.network(x).numpy(), self.exact_network(x.double()).numpy()

    def outputs(self, images: Array, chains: Iterable[Chain]) -> tuple[Outputs, Outputs]:
        """The output of each chain within the network, by the name of its node, in float32 and in
        float64."""
        x, chains = torch.from_numpy(images), list(chains)
        return (
            _outputs(self.network, x, chains),
            _outputs(self.exact_network, x.double(), chains),
        )

    def _chain(self, node: LayerNode, position: int) -> Chain:
        call = self._calls[position]
        norm, function = None, _ACTIVATIONS["none"]
        last, position = call, position + 1
        follower = self._reader(last, position)
        if not node.norm_follows and follower and _can_be_folded(follower.module):
            norm, last = cast(nn.BatchNorm2d, follower.module), follower
            follower = self._reader(last, position)
        if node.activation != "none":
            if follower and isinstance(follower.module, _ACTIVATION_MODULES):
                last = follower
            else:
                function = _ACTIVATIONS[node.activation]
        assert isinstance(call.module, LAYERS)
        return Chain(node, call.module, norm, function, last.name)

    def _reader(self, call: Call, position: int) -> Call | None:
        """The first call from `position` on that is given the output of `call` and is not `call`
        itself."""
        readers = (c for c in self._calls[position:] if c.x is call.y and c is not call)
        return next(readers, None)


Outputs = dict[str, Array]


def _hooked(
    network: nn.Module, x: Tensor, seen: Callable[[str, nn.Module, Tensor, Tensor], None]
) -> None:
    """Runs the network and calls `seen` with every module without children, in the order of
    calls."""
    calls: Counter[str] = Counter()

    def hook(path: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def told(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            name = f"{path}_{calls[path]}" if calls[path] else path
            calls[path] += 1
            if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                seen(name, module, inputs[0], output)

        return told

    handles = [
        module.register_forward_hook(hook(path))
        for path, module in network.named_modules()
        if not any(True for _ in module.children())
    ]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()


def _trace(network: nn.Module, x: Tensor) -> list[Call]:
    calls: list[Call] = []
    # The calls keep their tensors alive, so that no other tensor can get the same identity.
    _hooked(network, x, lambda *call: calls.append(Call(*call)))
    return calls


def _outputs(network: nn.Module, x: Tensor, chains: list[Chain]) -> Outputs:
    wanted: dict[str, list[Chain]] = {}
    for chain in chains:
        wanted.setdefault(chain.last, []).append(chain)
    outputs: Outputs = {}

    def keep(name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        for chain in wanted.get(name, ()):
            # The output is copied, since an activation that follows may work in place.
            outputs[chain.node.name] = chain.function(y.clone()).numpy()

    _hooked(network, x, keep)
    return outputs


def _out_channels(layer: Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _sums(layer: Layer, x: Tensor) -> tuple[Tensor, Tensor]:
    """The layer without its bias, and the sums of its terms' absolute values."""
    if isinstance(layer, AdderConv2d):
        out = adder_conv2d(x, layer.weight, layer.window, layer.groups)
        return out, out.abs()
    if isinstance(layer, nn.Linear):
        return F.linear(x, layer.weight), F.linear(x.abs(), layer.weight.abs())
    if isinstance(layer, ShiftConv2d):
        weight, window = layer.effective_weight(), layer.window
    else:
        weight, window = layer.weight, _conv_window(layer)
    return (
        window.conv2d(x, weight, layer.groups),
        window.conv2d(x.abs(), weight.abs(), layer.groups),
    )


def _conv_window(layer: nn.Conv2d) -> Window:
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise ModelError(f"a Conv2d with padding {layer.padding!r} cannot be compared by itself")
    pairs: list[tuple[int, int]] = [
        (value[0], value[1]) for value in (layer.kernel_size, layer.stride, layer.dilation)
    ]
    return Window(pairs[0], pairs[1], four_pads(tuple(layer.padding)), pairs[2])

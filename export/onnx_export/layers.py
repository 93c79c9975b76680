"""What single layers give, in a file and in its network, where the two differ at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from export.onnx_export.graph import attribute, is_custom
from export.onnx_export.naming import has_weights
from export.operator_table import ACTIVATIONS

Array = npt.NDArray[Any]

_ACTIVATIONS: dict[str, nn.Module] = {
    name: getattr(nn, activation.module)() for name, activation in ACTIVATIONS.items()
}
_FOLLOWERS = 2
"""Modules that a node may hold besides its layer: a BatchNorm and an activation."""


@dataclass(frozen=True)
class Call:
    """One use of a module without children. `x` and `y` are told by their identity; `value` is a
    copy of y, since an activation in place may come behind it."""

    path: str
    x: Tensor
    y: Tensor
    value: Tensor


def layer_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes with weights, in their order."""
    return [node for node in model.graph.node if is_custom(node) or has_weights(node)]


def with_outputs(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    """The model that also returns what `nodes` make."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    returned = {output.name for output in model.graph.output}
    for name in dict.fromkeys(node.output[0] for node in nodes):
        if name not in returned:
            result.graph.output.append(onnx.ValueInfoProto(name=name))
    return result


def calls(network: nn.Module, inputs: Sequence[Array]) -> list[Call]:
    """Every use of a module without children while the network runs, in their order."""
    seen: list[Call] = []

    def hook(path: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def keep(module: nn.Module, inputs: tuple[Any, ...], y: Any) -> None:
            if inputs and isinstance(inputs[0], Tensor) and isinstance(y, Tensor):
                seen.append(Call(path, inputs[0], y, y.clone()))

        return keep

    leaves = [(path, m) for path, m in network.named_modules() if not any(m.children())]
    handles = [module.register_forward_hook(hook(path)) for path, module in leaves]
    try:
        with torch.no_grad():
            network(*(torch.from_numpy(array) for array in inputs))
    finally:
        for handle in handles:
            handle.remove()
    return seen


def candidates(node: onnx.NodeProto, calls: list[Call]) -> list[Array]:
    """What the node may give: its module's output, or that of what follows it and is folded or
    fused into the node; nothing for a node that is named after no module."""
    chain = [call for call in calls if call.path == node.name][:1]
    while chain and len(chain) <= _FOLLOWERS:
        follower = next((c for c in calls if c.x is chain[-1].y and c is not chain[-1]), None)
        if follower is None:
            break
        chain.append(follower)
    activation = _ACTIVATIONS[attribute(node, "activation", "none")]
    values = [call.value for call in chain]
    # An activation that the network calls as a function is no module, so no call has its output.
    values += [activation(value) for value in values]
    return [value.numpy() for value in values]

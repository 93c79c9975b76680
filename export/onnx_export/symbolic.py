"""A network's ShiftConv2d and AdderConv2d layers as single ONNX nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.onnx import symbolic_helper
from torch.onnx.utils import register_custom_op_symbolic

from export.errors import ExportError
from export.onnx_export import codec
from export.onnx_export.scopes import title
from export.operator_table import DOMAIN
from export.operators import AdderConv2d, ShiftConv2d
from export.operators.geometry import Window, four_pads

OPSET = 13

_SCHEMA = (
    "layer(Tensor x, Tensor weight, Tensor scale, Tensor bias, str operator, int[] kernel_shape, "
    "int[] strides, int[] pads, int[] dilations, int group, int weight_bits) -> Tensor"
)
# This is held as long as the process lives, since the operator disappears with its Library.
_LIBRARY = torch.library.Library(DOMAIN, "DEF")
_LIBRARY.define(_SCHEMA)


def _layer(x: Tensor, weight: Tensor, scale: Tensor, *rest: Any) -> Tensor:
    """Stands for one node while the network is traced: only the output's shape is right."""
    _bias, _operator, kernel_shape, strides, pads, dilations, _group, _weight_bits = rest
    window = Window(kernel_shape, strides, pads, dilations)
    return x.new_zeros(x.shape[0], scale.shape[0], *window.output_size(x.shape[2], x.shape[3]))


@symbolic_helper.parse_args("v", "v", "v", "v", "s", "is", "is", "is", "is", "i", "i")
def _symbolic(
    g: Any,
    x: Any,
    weight: Any,
    scale: Any,
    bias: Any,
    operator: str,
    kernel_shape: list[int],
    strides: list[int],
    pads: list[int],
    dilations: list[int],
    group: int,
    weight_bits: int,
) -> Any:
    """The node that the exporter writes for `_layer`; every attribute is always written."""
    attributes: dict[str, Any] = {"weight_bits_i": weight_bits} if operator == "ShiftConv" else {}
    out = g.op(
        f"{DOMAIN}::{operator}",
        x,
        weight,
        scale,
        bias,
        kernel_shape_i=kernel_shape,
        strides_i=strides,
        pads_i=pads,
        dilations_i=dilations,
        group_i=group,
        activation_s="none",
        **attributes,
    )
    # As the trace has it: the exporter's own inference may have lost the shape on the way.
    traced = next(g.original_node.inputs()).type()
    batch, _, height, width = traced.varyingSizes() or x.type().varyingSizes()
    window = Window(
        (kernel_shape[0], kernel_shape[1]),
        (strides[0], strides[1]),
        four_pads(tuple(pads)),
        (dilations[0], dilations[1]),
    )
    shape = [batch, *scale.type().sizes(), *window.output_size(height, width)]
    out.setType(x.type().with_sizes(shape))
    return out


_LIBRARY.impl("layer", _layer, "CompositeExplicitAutograd")
register_custom_op_symbolic(f"{DOMAIN}::layer", _symbolic, OPSET)


class _NodeLayer(nn.Module):
    """A layer of the contract with its weights as the file holds them."""

    W: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, layer: ShiftConv2d | AdderConv2d) -> None:
        super().__init__()
        self.window = layer.window
        self.groups = layer.groups
        self.weight_bits = 0
        if isinstance(layer, ShiftConv2d):
            self.operator = "ShiftConv"
            powers = codec.nearest_powers(layer.effective_weight().detach().numpy())
            weights, channel_scale = codec.narrow(powers)
            self.weight_bits = codec.code_bits(weights)
            packed = torch.from_numpy(codec.pack(weights, self.weight_bits))
            scale = torch.from_numpy(channel_scale)
        else:
            self.operator = "AdderConv"
            packed = layer.weight.detach().clone()
            scale = torch.ones(layer.out_channels)
        channels = layer.out_channels
        self.register_buffer("W", packed)
        self.register_buffer("scale", scale)
        bias = torch.zeros(channels) if layer.bias is None else layer.bias.detach().clone()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        window = self.window
        out: Tensor = torch.ops.shiftadd.layer(
            x,
            self.W,
            self.scale,
            self.bias,
            self.operator,
            window.kernel_shape,
            window.strides,
            window.pads,
            window.dilations,
            self.groups,
            self.weight_bits,
        )
        return out


def node_layers(network: nn.Module) -> dict[str, nn.Module]:
    """What stands for each layer of the contract, by its path; one that is used twice has two.

    Raises ExportError, naming the layer, for weights that no code holds.
    """
    made: dict[nn.Module, nn.Module] = {}
    paths: dict[str, nn.Module] = {}
    for path, layer in network.named_modules(remove_duplicate=False):
        if isinstance(layer, (ShiftConv2d, AdderConv2d)):
            if layer not in made:
                made[layer] = _node_layer(path, layer)
            paths[path] = made[layer]
    return paths


def _node_layer(name: str, layer: ShiftConv2d | AdderConv2d) -> _NodeLayer:
    try:
        return _NodeLayer(layer)
    except ValueError as error:
        raise ExportError(f"{title(name, layer)}: {error}") from error

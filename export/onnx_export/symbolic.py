"""A network's ShiftConv2d and AdderConv2d layers as single ONNX nodes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.onnx import symbolic_helper
from torch.onnx._internal.torchscript_exporter import utils
from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

from export.errors import ExportError
from export.onnx_export import codec, refusals, sizes
from export.onnx_export.decompositions import Decompositions
from export.onnx_export.scopes import title
from export.operator_table import CONTRACT_VERSION, DOMAIN
from export.operators import AdderConv2d, ShiftConv2d
from export.operators.geometry import Window, four_pads

OPSET = 13
INPUT, OUTPUT, BATCH = "input", "logits", "N"


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


def _expand(g: Any, x: Any, size: Any, _implicit: Any) -> Any:
    """As the exporter's own, without its nodes that look for a -1 ("as it is") when the file runs:
    where such an extent stands is known, and an Expand leaves an extent alone for a 1."""
    extents = symbolic_helper._maybe_get_const(size, "is")
    if not symbolic_helper._is_value(extents):
        parts = [g.op("Constant", value_t=torch.tensor([max(extent, 1)])) for extent in extents]
    else:
        values = symbolic_helper._unpack_list(size)
        parts = [_extent(g, value) for value in values]
    return g.op("Expand", x, g.op("Concat", *parts, axis_i=0))


def _extent(g: Any, value: Any) -> Any:
    constant = symbolic_helper._maybe_get_const(value, "i")
    if isinstance(constant, int):
        return g.op("Constant", value_t=torch.tensor([max(constant, 1)]))
    return symbolic_helper._unsqueeze_helper(g, value, [0])


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


def trace(
    network: nn.Module, layers: Mapping[str, nn.Module], input_size: tuple[int, int, int]
) -> onnx.ModelProto:
    """`network` as the exporter writes it: opset 13, custom nodes unfused, BatchNorms still there.

    Args:
        network: [N, C, H, W] float32 to [N, classes], on the CPU and in eval mode.
        layers: by `node_layers`, which replace the network's own.
        input_size: (C, H, W).

    Raises ExportError, naming the layer, for what cannot be written.
    """
    module = _replace(network, layers)
    buffer: Any = io.BytesIO()
    with warnings.catch_warnings(), _settled(module, input_size) as failed:
        # The exporter that takes symbolic functions for operators is the older one, on purpose:
        # it writes opset 13, which is what TensorRT 8.2 reads.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # PRESERVE (below) makes the exporter fear for parameters that are to be trained on.
        warnings.filterwarnings("ignore", message=".*constant folding", category=UserWarning)
        # What becomes a constant is compared with a second trace, and the file with the network.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="torch.onnx")
        try:
            torch.onnx.export(
                module,
                (torch.zeros(sizes.BATCHES[0], *input_size),),
                buffer,
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: BATCH}, OUTPUT: {0: BATCH}},
                custom_opsets={DOMAIN: CONTRACT_VERSION} if layers else None,
                # The exporter would fold BatchNorms in float32; a pass of our own does it in
                # float64.
                training=torch.onnx.TrainingMode.PRESERVE,
            )
        except ExportError:
            raise
        # Whatever the network and the exporter raise: a network is anybody's code.
        except Exception as error:
            raise refusals.explain(error, module, failed) from error
    model = onnx.load_from_string(buffer.getvalue())
    # The exporter's shapes have a name of their own for the batch wherever it lost track of it.
    model.graph.ClearField("value_info")
    return model


@contextmanager
def _settled(module: nn.Module, input_size: tuple[int, int, int]) -> Iterator[list[Any]]:
    """While it is entered, the exporter's traces have numbers for sizes (see `sizes`).

    Gives a list to which the operation is added that the exporter fails at. Two functions of the
    exporter are wrapped for it, which is not public: requirements.txt pins PyTorch.
    """
    make_graph, write_node = utils._create_jit_graph, utils._run_symbolic_function
    failed: list[Any] = []

    def make_settled_graph(model: Any, args: Any) -> Any:
        # The exporter switches its log on, which is where it prints its graph for an error.
        torch._C._jit_set_onnx_log_enabled(False)
        with Decompositions():
            other, *_ = make_graph(model, (torch.zeros(sizes.BATCHES[1], *input_size),))
            graph, *rest = make_graph(model, args)
        refusals.check_trace(graph)
        sizes.settle(graph, other)
        return (graph, *rest)

    def write_known_node(graph: Any, block: Any, node: Any, inputs: Any, *rest: Any) -> Any:
        for value, traced in zip(inputs, node.inputs(), strict=True):
            sizes.tell(value, traced)
        try:
            return write_node(graph, block, node, inputs, *rest)
        except Exception:
            failed.append(node)
            raise

    utils._create_jit_graph, utils._run_symbolic_function = make_settled_graph, write_known_node
    register_custom_op_symbolic("aten::expand", _expand, OPSET)
    try:
        yield failed
    finally:
        unregister_custom_op_symbolic("aten::expand", OPSET)
        utils._create_jit_graph, utils._run_symbolic_function = make_graph, write_node


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


def _replace(network: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    for path, layer in layers.items():
        if not path:
            return layer
        parent, _, child = path.rpartition(".")
        setattr(network.get_submodule(parent), child, layer)
    return network


def _node_layer(name: str, layer: ShiftConv2d | AdderConv2d) -> _NodeLayer:
    try:
        return _NodeLayer(layer)
    except ValueError as error:
        raise ExportError(f"{title(name, layer)}: {error}") from error

"""A network as PyTorch's exporter writes it, with its sizes settled before."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import nn
from torch.jit._trace import TracerWarning
from torch.onnx import symbolic_helper
from torch.onnx._internal.torchscript_exporter import utils
from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

from export.errors import ExportError
from export.onnx_export import refusals, sizes
from export.onnx_export.decompositions import Decompositions
from export.onnx_export.symbolic import OPSET
from export.operator_table import CONTRACT_VERSION, DOMAIN

OUTPUT, BATCH = "logits", "N"


def trace(
    network: nn.Module, layers: Mapping[str, nn.Module], inputs: Mapping[str, tuple[int, ...]]
) -> onnx.ModelProto:
    """`network` as the exporter writes it: opset 13, custom nodes unfused, BatchNorms still there.

    Args:
        network: from float32 tensors [N, ...] to such tensors, on the CPU and in eval mode.
        layers: by `node_layers`, which replace the network's own.
        inputs: their extents without the batch, by name, in the order of the arguments.

    Raises ExportError, naming the layer, for what cannot be written.
    """
    module = _replace(network, layers)
    buffer: Any = io.BytesIO()
    with _quiet(), _settled(module, inputs) as failed:
        try:
            # The exporter that takes symbolic functions for operators is the older one, on purpose:
            # it writes opset 13, which is what TensorRT 8.2 reads.
            torch.onnx.export(
                module,
                _zeros(sizes.BATCHES[0], inputs),
                buffer,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=[OUTPUT],
                dynamic_axes={name: {0: BATCH} for name in (*inputs, OUTPUT)},
                custom_opsets={DOMAIN: CONTRACT_VERSION} if layers else None,
                # It would fold BatchNorms in float32; a pass of our own does it in float64.
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
def _quiet() -> Iterator[None]:
    """Without warnings of the exporter that do not concern what is done here."""
    with warnings.catch_warnings():
        # That it is the older one; and that PRESERVE leaves parameters that are trained on.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*constant folding", category=UserWarning)
        # What becomes a constant is compared with a second trace, and the file with the network.
        warnings.filterwarnings("ignore", category=TracerWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="torch.onnx")
        yield


@contextmanager
def _settled(module: nn.Module, inputs: Mapping[str, tuple[int, ...]]) -> Iterator[list[Any]]:
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
            other, *_ = make_graph(model, _zeros(sizes.BATCHES[1], inputs))
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

    exporter: Any = utils
    exporter._create_jit_graph = make_settled_graph
    exporter._run_symbolic_function = write_known_node
    register_custom_op_symbolic("aten::expand", _expand, OPSET)
    try:
        yield failed
    finally:
        unregister_custom_op_symbolic("aten::expand", OPSET)
        exporter._create_jit_graph = make_graph
        exporter._run_symbolic_function = write_node


def _zeros(batch: int, inputs: Mapping[str, tuple[int, ...]]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.zeros(batch, *shape) for shape in inputs.values())


def _replace(network: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    for path, layer in layers.items():
        if not path:
            return layer
        parent, _, child = path.rpartition(".")
        setattr(network.get_submodule(parent), child, layer)
    return network


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

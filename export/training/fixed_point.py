"""Fixed-point activations, simulated in PyTorch: FIX8 and FIX16.

FIXb here is what an integer kernel of b bits computes on: a code q in 0..2^b-1 stands for
`scale * (q - zero_point)`, with one scale a tensor, from a range that is measured. That is the
uniform quantization over measured ranges of ShiftAddNet (arXiv 2010.12785; `QuantMeasure` in its
authors' code), at 8 bits with the arithmetic of QLinearShiftConv and QLinearAdderConv. DeepShift's
fixed point (arXiv 1905.13298), 16 bits before and 16 behind the point whatever the range, is not
this: it takes 32 bits. Only activations and, as in the integer kernel, adder weights are rounded;
those of shift layers are exact anyway, those of Conv2d and Linear stay float. Gradients are not
quantized.

A network is simulated on its own modules, so its state dict is that of the float network. The
BatchNorms are frozen at their running statistics, for training too (their scales and biases learn):
deployed, they are constants folded into the layer, and a range measured behind a batch's own
statistics would be that of a network which is never run.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from calibration.quantization import Grid, Range, grid_over
from export.operator_table import ACTIVATIONS
from export.operators import AdderConv2d
from export.operators.adder import adder_conv2d
from export.operators.layer import ConvLayer

BITS = (8, 16)

# Share of the newest batch in a range (a moving average, as in arXiv 1712.05877, section 3.1), once
# a hundred have been seen; before, all batches count alike.
_MOMENTUM = 0.01


class _RoundToGrid(torch.autograd.Function):
    """The nearest value of a grid; the gradient passes where x lies on the grid's range, else 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Grid) -> Tensor:
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward((x >= grid.low) & (x <= grid.high))
        # The epilogue of the integer operators, in float32: a product with the reciprocal, rounded
        # half to even.
        reciprocal = float(np.float32(1) / np.float32(grid.scale))
        codes = torch.round(x * reciprocal).add_(grid.zero_point).clamp_(0, grid.last)
        return codes.sub_(grid.zero_point).mul_(grid.scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (within,) = ctx.saved_tensors
        return grads[0] * within, None


def round_to_grid(x: Tensor, grid: Grid) -> Tensor:
    """x, float32 of any shape, clamped and rounded to `grid`, with straight-through gradients.

    The gradient is that of the identity for x within [grid.low, grid.high] and 0 beyond
    (arXiv 1308.3432; ShiftAddNet and arXiv 1712.05877 likewise).
    """
    out: Tensor = _RoundToGrid.apply(x, grid)  # type: ignore[no-untyped-call]
    return out


class Activation(nn.Module):
    """Rounds one activation to the grid over its range, and measures that range.

    Attributes:
        name: of the layer, or of the operation, that makes it.
        bits: of the codes; None passes values on as they are.
        observing: whether values move the range: the least and the greatest of each batch.
        sharing: the activations that share this one's scale, itself included: those of a
            concatenation, which then copies codes.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.bits: int | None = None
        self.observing = False
        self.low = self.high = math.nan
        self.batches = 0
        self.sharing: tuple[Activation, ...] = (self,)

    def grid(self, bits: int) -> Grid:
        """Over the ranges of all that share the scale."""
        low = min(each.low for each in self.sharing)
        high = max(each.high for each in self.sharing)
        return grid_over(self.name, Range(low, high), bits)

    def forward(self, x: Tensor) -> Tensor:
        if self.observing:
            self._observe(x.detach())
        return x if self.bits is None else round_to_grid(x, self.grid(self.bits))

    def _observe(self, x: Tensor) -> None:
        low, high = (float(value) for value in x.aminmax())
        self.batches += 1
        if self.batches == 1:
            self.low, self.high = low, high
            return
        share = max(1 / self.batches, _MOMENTUM)
        self.low += share * (low - self.low)
        self.high += share * (high - self.high)

    def extra_repr(self) -> str:
        return f"{self.name}, bits={self.bits}, range={self.low:g}..{self.high:g}"


class GridAdder(nn.Module):
    """An AdderConv2d whose weights lie on the grid of its input's codes.

    They are clamped to the grid, what that takes off is summed into the output, and then they are
    rounded (docs/operators.md, section 5.4). The gradient of the weight is AdderNet's, x - w at the
    rounded weight. It is the same beyond the grid, because the clamp loses nothing there.
    """

    def __init__(self, layer: AdderConv2d, source: Activation) -> None:
        super().__init__()
        self.layer = layer
        self._sources = (source,)  # in a tuple, as it is no part of this module

    def forward(self, x: Tensor) -> Tensor:
        (source,) = self._sources
        if source.bits is None:
            out: Tensor = self.layer(x)
            return out
        layer = self.layer
        grid = source.grid(source.bits)
        exact = layer.weight.detach().double()
        clamped = exact.clamp(grid.low, grid.high)
        codes = torch.round(clamped / grid.scale) + grid.zero_point
        rounded = ((codes.clamp(0, grid.last) - grid.zero_point) * grid.scale).to(x.dtype)
        weight = layer.weight + (rounded - layer.weight).detach()
        excess = (clamped - exact).abs().flatten(1).sum(1)
        offset = -excess.to(x.dtype) if layer.bias is None else layer.bias - excess.to(x.dtype)
        return adder_conv2d(x, weight, layer.window, layer.groups, layer.eta) + offset.view(
            1, -1, 1, 1
        )


def _forms(function: str) -> Iterator[Any]:
    """How a graph names the calls of an activation: as a function of torch.nn.functional or of
    torch, or as a tensor's method; each also in place, with an underscore behind its name."""
    for name in (function, f"{function}_"):
        yield from (getattr(owner, name) for owner in (F, torch) if hasattr(owner, name))
        if hasattr(Tensor, name):
            yield name


# What moves or chooses values: its output's codes are its inputs'.
_PASSING_MODULES = (nn.Identity, nn.Dropout, nn.Flatten, nn.MaxPool2d)
_PASSING_CALLS = {torch.cat, torch.flatten, operator.getitem, "flatten", "reshape", "view"}
# What is computed in one go with the layer or the sum before it.
_FUNCTIONS = {each.module: each.function for each in ACTIVATIONS.values() if each.function}
_EPILOGUE_MODULES = (nn.BatchNorm2d, *(getattr(nn, name) for name in _FUNCTIONS))
_EPILOGUE_CALLS = {
    *(operator.add, operator.mul, operator.truediv),
    *(form for name in _FUNCTIONS.values() for form in _forms(name)),
}


class FixedPointNetwork(nn.Module):
    """A network whose activations are rounded, on the network's own modules and parameters.

    Rounded are the input and what every layer (with its BatchNorm and activation), sum, product and
    pooling makes. A concatenation and its inputs share a scale. It starts in float: `calibrate` it,
    then set `bits`. In training mode the ranges follow the activations.

    Raises torch.fx.proxy.TraceError for a network whose course depends on its values.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._traced, self.activations = _with_activations(network)
        self.eval()

    @property
    def bits(self) -> int | None:
        """Of every activation: 8, 16, or None, which computes in float."""
        return self.activations[0].bits

    @bits.setter
    def bits(self, bits: int | None) -> None:
        for activation in self.activations:
            activation.bits = bits

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self._traced(x)
        return out

    def train(self, mode: bool = True) -> FixedPointNetwork:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        self._observe(mode)
        return self

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Measures all ranges afresh over the float network's activations.

        A range is the mean over the batches of the least and of the greatest value. Raises
        ModelError, naming the layer, for an activation that is not finite.
        """
        bits = self.bits
        self.eval()
        self.bits = None
        self._observe(True)
        for activation in self.activations:
            activation.batches = 0
        for batch in batches:
            self(batch)
        self._observe(False)
        self.bits = bits
        for activation in self.activations:
            activation.grid(min(BITS))

    def ranges(self) -> list[tuple[float, float, int]]:
        """Of each activation, in order: low, high, and the batches it has been measured on."""
        return [(each.low, each.high, each.batches) for each in self.activations]

    def set_ranges(self, ranges: Iterable[tuple[float, float, int]]) -> None:
        """Takes up what `ranges` gave, of the same network."""
        for activation, values in zip(self.activations, ranges, strict=True):
            activation.low, activation.high, activation.batches = values

    def _observe(self, observing: bool) -> None:
        for activation in self.activations:
            activation.observing = observing


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = isinstance(m, (ConvLayer, nn.BatchNorm2d))
        return ours or super().is_leaf_module(m, module_qualified_name)


def _with_activations(network: nn.Module) -> tuple[fx.GraphModule, list[Activation]]:
    """The network as a graph with an Activation behind every value, and these in order."""
    traced = fx.GraphModule(network, _Tracer().trace(network))
    nodes = [node for node in traced.graph.nodes if node.op != "output"]
    sources: dict[fx.Node, list[Activation]] = {}
    activations: list[Activation] = []
    for node in nodes:
        if _kind(traced, node) == "passing":
            sources[node] = _shared([sources[each] for each in node.all_input_nodes])
            continue
        if _only_epilogue_reads(traced, node):
            continue
        activation = Activation(_maker(traced, node))
        sources[node] = [activation]
        activations.append(activation)
    for index, node in enumerate(nodes):
        if node.op == "call_module" and isinstance(_module(traced, node), AdderConv2d):
            (source,) = node.all_input_nodes
            adder = GridAdder(_module(traced, node), sources[source][0])
            node.target = f"adders.{index}"
            traced.add_submodule(node.target, adder)
    for node in nodes:
        if _kind(traced, node) != "passing" and node in sources:
            _insert_behind(traced, node, sources[node][0], f"activations.{node.name}")
    traced.recompile()
    return traced, activations


def _insert_behind(traced: fx.GraphModule, node: fx.Node, module: nn.Module, path: str) -> None:
    traced.add_submodule(path, module)
    with traced.graph.inserting_after(node):
        inserted = traced.graph.call_module(path, (node,))
    node.replace_all_uses_with(inserted, lambda user: user is not inserted)


def _shared(groups: list[list[Activation]]) -> list[Activation]:
    """The members of all groups, made to share one scale."""
    members = tuple(dict.fromkeys(m for group in groups for each in group for m in each.sharing))
    for member in members:
        member.sharing = members
    return list(members)


def _module(traced: fx.GraphModule, node: fx.Node) -> Any:
    return traced.get_submodule(str(node.target))


def _kind(traced: fx.GraphModule, node: fx.Node) -> str:
    """`passing`, `epilogue` or, for all else that makes values, `maker`."""
    if node.op == "call_module":
        module = _module(traced, node)
        if isinstance(module, _PASSING_MODULES):
            return "passing"
        return "epilogue" if isinstance(module, _EPILOGUE_MODULES) else "maker"
    if node.target in _PASSING_CALLS:
        return "passing"
    alone = len(node.all_input_nodes) == 1
    return "epilogue" if alone and node.target in _EPILOGUE_CALLS else "maker"


def _only_epilogue_reads(traced: fx.GraphModule, node: fx.Node) -> bool:
    users = list(node.users)
    return len(users) == 1 and users[0].op != "output" and _kind(traced, users[0]) == "epilogue"


def _maker(traced: fx.GraphModule, node: fx.Node) -> str:
    """The name of what makes the value that an epilogue ends in."""
    while _kind(traced, node) == "epilogue":
        (node,) = node.all_input_nodes
    return str(node.target) if node.op == "call_module" else node.name

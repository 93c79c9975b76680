"""Sizes in a traced network: what does not depend on the batch becomes a number.

The tracer records every size that a network reads from a tensor (`x.shape`, `x.size(1)`) as an
operation, and the exporter writes chains of Shape, Gather and Concat nodes for them. Behind such a
chain neither the exporter nor ONNX's shape inference knows a size any more, and operators that need
one (a pooling by the tensor's own size, a group normalisation) cannot be written at all. The
simplifiers of ONNX files come too late for that: there is no file yet.

So the network is traced twice, with two sizes of the batch. The traces record the shape of every
value. A size that is the same in both is a constant, and a reshape whose result differs in one
extent only is written with the numbers of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from export.errors import ExportError
from export.onnx_export.scopes import module_of

Node = Any
Value = Any
Shape = list[int]

BATCHES = (2, 3)
"""Of the two traces. Not 1: broadcasting and `squeeze` treat an extent of 1 as they do no other."""

_RESHAPES = (
    *("aten::view", "aten::reshape", "aten::_unsafe_view", "aten::view_as", "aten::reshape_as"),
    *("aten::flatten", "aten::unflatten", "aten::squeeze"),
)
_SPLITS = ("aten::chunk", "aten::unsafe_chunk", "aten::tensor_split")
_REST = -1
"""In the shape that a reshape is given: what the other extents leave over."""


def settle(graph: Any, other: Any) -> None:
    """Changes `graph`, traced with a batch of BATCHES[0]; `other` is of the same network with a
    batch of BATCHES[1].

    Raises ExportError where the network does something else for another size of the batch.
    """
    nodes, twins = list(graph.nodes()), list(other.nodes())
    if [node.kind() for node in nodes] != [node.kind() for node in twins]:
        raise ExportError(_other_steps(nodes, twins))
    replaced: list[tuple[Node, Node]] = []
    for node, twin in zip(nodes, twins, strict=True):
        step = _Step(graph, node, twin, replaced)
        kind = node.kind()
        if kind in ("aten::size", "aten::numel"):
            step.settle_size()
        elif kind in _RESHAPES:
            step.settle_reshape()
        elif kind in ("aten::expand", "aten::expand_as"):
            step.settle_expand()
        elif kind in _SPLITS:
            step.settle_split()
    for node, twin in zip(nodes, twins, strict=True):
        if node.kind() == "prim::Constant" and node.hasAttribute("value"):
            _Step(graph, node, twin, replaced).settle_constant()
        _forget_batch(node, twin)
    for node, made in replaced:
        made.output().setType(node.output().type())
    # The exporter removes nodes next, and nothing may point at one of them then.
    graph.setInsertPoint(graph.return_node())


def tell(value: Value, traced: Value) -> None:
    """Gives `value` of the exporter's graph the shape of the traced one that it stands for, where
    the exporter's own inference of shapes has lost it."""
    kind, known = value.type(), traced.type()
    if kind.kind() == known.kind() == "TensorType" and known.varyingSizes() is not None:
        lost = kind.varyingSizes() is None or None in kind.varyingSizes()[1:]
        if lost and kind.scalarType() == known.scalarType():
            value.setType(kind.with_sizes(known.varyingSizes()))


def _other_steps(nodes: Sequence[Node], twins: Sequence[Node]) -> str:
    changed = (n for n, t in zip(nodes, twins, strict=False) if n.kind() != t.kind())
    where = module_of(next(changed, nodes[-1]))
    return (
        f"{where} takes other steps for a batch of {BATCHES[0]} than for one of {BATCHES[1]}: "
        "let forward depend on the batch in nothing but sizes"
    )


def _shape(value: Value) -> Shape | None:
    """What the trace recorded, None for what is no tensor."""
    kind = value.type()
    sizes = kind.sizes() if kind.kind() == "TensorType" else None
    return None if sizes is None else list(sizes)


def _integer(value: Value) -> int | None:
    """What the value is where it is a constant integer."""
    made = value.node()
    known = made.kind() == "prim::Constant" and made.hasAttribute("value")
    return int(made.i("value")) if known and made.kindOf("value") == "i" else None


@dataclass(frozen=True)
class _Step:
    """One operation in both traces; `replaced` collects nodes and what stands for them."""

    graph: Any
    node: Node
    twin: Node
    replaced: list[tuple[Node, Node]]

    def settle_size(self) -> None:
        shapes = self._input_shapes()
        if shapes is None:
            return
        first, second = shapes
        inputs = list(self.node.inputs())
        if len(inputs) == 1 and self.node.kind() == "aten::numel" and first == second:
            self._replace(self._constant(torch.Size(first).numel()))
        axis = _integer(inputs[1]) if len(inputs) == 2 else None
        if axis is None:
            return
        if first[axis] == second[axis]:
            self._replace(self._constant(first[axis]))
        elif inputs[0].node().kind() == "prim::Constant":
            # Of `x.data`, which the tracer takes for a constant.
            self._replace(self._affine(first[axis], second[axis], as_tensor=False))

    def settle_reshape(self) -> None:
        """As a reshape by numbers, with -1 for the batch or what it was merged into."""
        shapes = self._output_shapes()
        if shapes is None or self._is_plain():
            return
        shape = [a if a == b else _REST for a, b in zip(*shapes, strict=True)]
        if shape.count(_REST) <= 1:
            made = [next(self.node.inputs()), self._constant(shape)]
            self._replace_by("aten::reshape", made)

    def settle_expand(self) -> None:
        """Extents that the input has already are left to it."""
        shapes, before = self._output_shapes(), self._input_shapes()
        if shapes is None or before is None:
            return
        kept = _kept(before, shapes)
        if all(a == b or same for a, b, same in zip(*shapes, kept, strict=True)):
            shape = [-1 if same else a for a, same in zip(shapes[0], kept, strict=True)]
            values = [next(self.node.inputs()), self._constant(shape), self._constant(False)]
            self._replace_by("aten::expand", values)

    def settle_split(self) -> None:
        """As a split by numbers, along any axis but the batch's."""
        inputs, uses = list(self.node.inputs()), list(self.node.output().uses())
        if len(uses) != 1 or uses[0].user.kind() != "prim::ListUnpack":
            return
        parts = [_shape(value) for value in uses[0].user.outputs()]
        axis = _integer(inputs[2])
        if axis is not None and axis != 0:
            lengths = [part[axis] for part in parts if part]
            values = [inputs[0], self._constant(lengths), inputs[2]]
            self._replace_by("aten::split_with_sizes", values)

    def settle_constant(self) -> None:
        """A number that was the batch's size, and lost its trace as an int, is read again."""
        if not self._is_read():
            return
        kind = self.node.kindOf("value")
        first, second = (getattr(n, kind)("value") for n in (self.node, self.twin))
        if kind == "t":
            if first.shape == second.shape and torch.equal(first, second):
                return
            # A NaN is unlike itself.
            if first.shape == second.shape and torch.allclose(first, second, equal_nan=True):
                return
            if first.dim() == 0 and first.dtype == torch.int64:
                self._replace(self._affine(int(first), int(second), as_tensor=True))
                return
        elif first == second:
            return
        elif kind == "i" and self.node.output().type().kind() == "IntType":
            self._replace(self._affine(first, second, as_tensor=False))
            return
        raise ExportError(
            f"{module_of(self.node)} makes a value that is another one at each call, or for each "
            "size of the batch, outside of PyTorch's operators: make it of tensors, or keep it as "
            "a buffer"
        )

    def _is_read(self) -> bool:
        """Whether anybody reads the constant whose own output is read: what was replaced is still
        there."""
        readers = [use.user for use in self.node.output().uses()]
        return any(list(made.uses()) for reader in readers for made in reader.outputs())

    def _affine(self, first: int, second: int, as_tensor: bool) -> Value:
        """first + (second - first) * (N - BATCHES[0]), N being the batch of the network's input."""
        slope = second - first
        self.graph.setInsertPoint(self.node)
        batch = self._make("aten::size", [next(self.graph.inputs()), self._constant(0)], "int")
        scaled = self._make("aten::mul", [batch, self._constant(slope)], "int")
        offset = self._constant(first - slope * BATCHES[0])
        value = self._make("aten::add", [scaled, offset], "int")
        return self._make("prim::NumToTensor", [value], "tensor") if as_tensor else value

    def _output_shapes(self) -> tuple[Shape, Shape] | None:
        return self._pair(_shape(self.node.output()), _shape(self.twin.output()))

    def _input_shapes(self) -> tuple[Shape, Shape] | None:
        return self._pair(*(_shape(next(n.inputs())) for n in (self.node, self.twin)))

    @staticmethod
    def _pair(first: Shape | None, second: Shape | None) -> tuple[Shape, Shape] | None:
        if first is None or second is None or len(first) != len(second):
            return None
        return first, second

    def _is_plain(self) -> bool:
        """Whether the exporter writes the node without sizes as it is."""
        arguments = [_integer(value) for value in list(self.node.inputs())[1:]]
        kind = self.node.kind()
        return (kind == "aten::flatten" and arguments == [1, -1]) or (
            kind == "aten::squeeze" and len(arguments) == 1
        )

    def _constant(self, value: Any) -> Value:
        self.graph.setInsertPoint(self.node)
        return self.graph.insertConstant(value)

    def _make(self, kind: str, values: list[Value], result: str) -> Value:
        made = self.graph.create(kind, values)
        made.insertBefore(self.node)
        made.copyMetadata(self.node)
        types = {"int": torch._C.IntType.get, "tensor": torch._C.TensorType.get}
        made.output().setType(types[result]())
        return made.output()

    def _replace_by(self, kind: str, values: list[Value]) -> None:
        made = self.graph.create(kind, values)
        made.insertBefore(self.node)
        made.copyMetadata(self.node)
        made.output().setType(self.node.output().type())
        self.replaced.append((self.node, made))
        self._replace(made.output())

    def _replace(self, value: Value) -> None:
        """The node itself is dead then, and goes when the exporter clears what nobody reads."""
        self.node.output().replaceAllUsesWith(value)


def _kept(before: Sequence[Shape], after: Sequence[Shape]) -> list[bool]:
    """For each axis of `after`, in both traces, whether `before` has that extent there already;
    axes are counted from the last."""
    lead = len(after[0]) - len(before[0])
    return [
        axis >= lead and all(b[axis - lead] == a[axis] for b, a in zip(before, after, strict=True))
        for axis in range(len(after[0]))
    ]


def _forget_batch(node: Node, twin: Node) -> None:
    """Leaves what differs between the traces out of the types of what the node makes."""
    for value, other in zip(node.outputs(), twin.outputs(), strict=True):
        first, second = _shape(value), _shape(other)
        if first is not None and second is not None and len(first) == len(second):
            sizes = [a if a == b else None for a, b in zip(first, second, strict=True)]
            value.setType(value.type().with_sizes(sizes))

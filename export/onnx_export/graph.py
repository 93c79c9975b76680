"""What every graph pass needs: who makes a value, who reads it, and its constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from export.operator_table import DOMAIN, FLOAT_OPERATORS

Array = npt.NDArray[Any]


def is_custom(node: onnx.NodeProto) -> bool:
    """Whether the node is one of the contract's float operators."""
    return node.domain == DOMAIN and node.op_type in FLOAT_OPERATORS


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The attribute's value (strings as str), or `default`."""
    for entry in node.attribute:
        if entry.name == name:
            value = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Replaces the attribute or adds it; the attributes stay sorted by name."""
    entries = [entry for entry in node.attribute if entry.name != name]
    entries.append(helper.make_attribute(name, value))
    del node.attribute[:]
    node.attribute.extend(sorted(entries, key=lambda entry: entry.name))


class Editor:
    """A copy of a model with an index of its values, for one pass to change.

    The index is kept by the methods; nodes are only ever removed by `drop`.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        # The nodes are held in one list, since a node is recognised by the identity of its Python
        # object.
        self.nodes = list(self.graph.node)
        self.constants: dict[str, Array] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer
        }
        self.producers: dict[str, onnx.NodeProto] = {}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.output:
                self.producers[name] = node
            for name in node.input:
                self._readers[name].append(node)
        self._outputs = {value.name for value in self.graph.output}
        self._dropped: set[int] = set()

    def producer(self, name: str, *op_types: str) -> onnx.NodeProto | None:
        """The node that makes `name`, where it is one of `op_types`."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type in op_types else None

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read `name`, once for each time they do."""
        return [node for node in self._readers[name] if id(node) not in self._dropped]

    def has_one_reader(self, name: str) -> bool:
        """Whether exactly one node reads `name` and the graph does not return it."""
        return len(self.readers(name)) == 1 and name not in self._outputs

    def is_output(self, name: str) -> bool:
        """Whether the graph returns `name`."""
        return name in self._outputs

    def constant(self, name: str) -> Array | None:
        """The value of an initializer, None for anything else."""
        return self.constants.get(name)

    def scalar(self, name: str) -> float | None:
        """The value of an initializer of one element, None for anything else."""
        value = self.constants.get(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def add_constant(self, name: str, value: Array) -> str:
        """Adds an initializer under `name`, made unique, and returns its name."""
        unique = self._unique(name)
        self.constants[unique] = value
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), unique))
        return unique

    def _unique(self, name: str) -> str:
        unique, count = name, 1
        while unique in self.constants or unique in self.producers:
            unique, count = f"{name}_{count}", count + 1
        return unique

    def set_input(self, node: onnx.NodeProto, index: int, name: str) -> None:
        """Makes `node` read `name` at `index`; an index equal to the number of its inputs appends
        one."""
        if index == len(node.input):
            node.input.append(name)
        else:
            self._readers[node.input[index]].remove(node)
            node.input[index] = name
        self._readers[name].append(node)

    def rename_constant(self, old: str, new: str) -> None:
        """Renames an initializer; the new name is made unique."""
        name = self._unique(new)
        self.constants[name] = self.constants.pop(old)
        for tensor in self.graph.initializer:
            if tensor.name == old:
                tensor.name = name
        for reader in list(self._readers[old]):
            for index, given in enumerate(reader.input):
                if given == old:
                    self.set_input(reader, index, name)

    def drop(self, node: onnx.NodeProto) -> None:
        """Removes the node (at `finish`)."""
        self._dropped.add(id(node))

    def merge_into(self, node: onnx.NodeProto, absorbed: Iterable[onnx.NodeProto]) -> None:
        """Drops the `absorbed` nodes that follow `node`, which takes over the output name of the
        last of them."""
        absorbed = list(absorbed)
        for other in absorbed:
            self.drop(other)
        del self.producers[node.output[0]]
        node.output[0] = absorbed[-1].output[0]
        self.producers[node.output[0]] = node

    def bypass(self, node: onnx.NodeProto) -> bool:
        """Removes a node whose output equals its first input; False where the graph's own
        input or a constant would have to take an output's name."""
        source, target = node.input[0], node.output[0]
        if self.is_output(target):
            producer = self.producers.get(source)
            if producer is None or self.is_output(source):
                return False
            producer.output[list(producer.output).index(source)] = target
            self.producers[target] = producer
            source, target = target, source
        self.drop(node)
        for reader in self.readers(target):
            for index, name in enumerate(reader.input):
                if name == target:
                    self.set_input(reader, index, source)
        return True

    def finish(self) -> onnx.ModelProto:
        """The changed model, without dropped nodes and without initializers nobody reads."""
        nodes = [node for node in self.nodes if id(node) not in self._dropped]
        used = {name for node in nodes for name in node.input} | self._outputs
        constants = [tensor for tensor in self.graph.initializer if tensor.name in used]
        return with_graph(self.model, nodes, constants)


def with_graph(
    model: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    constants: Iterable[onnx.TensorProto],
) -> onnx.ModelProto:
    """The model with other nodes and initializers; the shapes of values that are gone are removed
    as well."""
    nodes, constants = list(nodes), list(constants)
    made = {name for node in nodes for name in node.output}
    shapes = [value for value in model.graph.value_info if value.name in made]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for field, values in (("node", nodes), ("initializer", constants), ("value_info", shapes)):
        result.graph.ClearField(field)
        getattr(result.graph, field).extend(values)
    return result

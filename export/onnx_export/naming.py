"""Names nodes and weights by the modules they come from."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import onnx

from export.onnx_export.graph import Editor
from export.operator_table import FLOAT_OPERATORS, OPERATORS

_WEIGHTS = {
    "Conv": ("weight", "bias"),
    "ConvTranspose": ("weight", "bias"),
    "Gemm": ("weight", "bias"),
    "MatMul": ("weight",),
    **{name: OPERATORS[name].input_names[1:] for name in FLOAT_OPERATORS},
}


def module_path(scope: str) -> str:
    """The module path in an exporter's node name, whose parts may repeat their parent's:
    "/blocks/blocks.0/expand/ShiftConv" is of "blocks.0.expand"."""
    parts: list[str] = []
    for part in scope.strip("/").split("/")[:-1]:
        if parts and part.startswith(parts[-1] + "."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def _used_again(path: str, modules: Collection[str]) -> str:
    """`path` without the numbers that the exporter writes behind a module from its second use on:
    "blocks.0_1.conv" is of "blocks.0.conv", where there is no module of the longer name."""
    if path in modules:
        return path
    return ".".join(re.sub(r"_\d+$", "", part) for part in path.split("."))


def has_weights(node: onnx.NodeProto) -> bool:
    """Whether the node is of an operator with weights, which `name_layers` names."""
    return node.op_type in _WEIGHTS


def name_layers(model: onnx.ModelProto, modules: Collection[str]) -> onnx.ModelProto:
    """The model with the nodes that have weights named as their module ("blocks.0.expand.0").

    A node keeps the exporter's name where that leads to none of `modules`; a module that is used
    again gets a number behind its name.
    """
    editor = Editor(model)
    taken = {node.name for node in editor.nodes}
    for node in editor.nodes:
        path = _used_again(module_path(node.name), modules)
        if node.op_type in _WEIGHTS and path in modules:
            name, count = path, 1
            while name in taken:
                name, count = f"{path}_{count}", count + 1
            taken.add(name)
            node.name = name
    return editor.finish()


def name_outputs(model: onnx.ModelProto, known: Sequence[str]) -> onnx.ModelProto:
    """The model with its outputs named: those that have no name in `known` get their number."""
    editor = Editor(model)
    for index, output in enumerate(editor.graph.output):
        old, new = output.name, known[index] if index < len(known) else f"output_{index}"
        for node in editor.nodes:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]
        output.name = new
    return editor.finish()


def name_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with each layer's initializers its own, named after its node."""
    editor = Editor(model)
    weights = [
        (node, index, f"{node.name}.{field}")
        for node in editor.nodes
        for index, field in enumerate(_WEIGHTS.get(node.op_type, ()), start=1)
        if index < len(node.input) and editor.constant(node.input[index]) is not None
    ]
    # The exporter shares equal constants under the name of one of them: free the names first.
    for _, _, name in weights:
        if name in editor.constants:
            editor.rename_constant(name, f"/{name}")
    for node, index, name in weights:
        value = editor.constants[node.input[index]]
        editor.set_input(node, index, editor.add_constant(name, value))
    return editor.finish()

"""Whether an output with classes stands before a sigmoid or behind one, which its graph tells."""

from __future__ import annotations

from dataclasses import replace

import onnx

from export.errors import ExportError
from export.heads import OUTPUT
from export.onnx_export.graph import Editor
from export.spec import CompleteSpec
from runtime.core.metadata import LOGIT, LOGITS, PROBABILITY, Classes

_SAME_VALUES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity")


def judged(model: onnx.ModelProto, spec: CompleteSpec, named: bool) -> CompleteSpec:
    """`spec` as the traced `model`, whose outputs are in the spec's order, has it.

    One value behind a sigmoid is a probability. Several are no classes that exclude each other, of
    which the most probable could be told: such an output holds no classes.

    Raises ExportError for the latter where the classes were `named`.
    """
    classes = spec.classes
    if classes is None or classes.values not in (LOGIT, LOGITS):
        return spec
    index = spec.outputs.index(classes.output)
    if not _behind_sigmoid(model, model.graph.output[index].name):
        return spec
    if classes.values == LOGIT:
        return replace(spec, outputs=(PROBABILITY,), classes=Classes(PROBABILITY, PROBABILITY))
    if named:
        raise ExportError(
            f"{len(spec.labels)} labels for outputs that each end in a sigmoid: these are no "
            "classes that exclude each other; leave out the sigmoid or the labels"
        )
    outputs = (OUTPUT,) if len(spec.outputs) == 1 else spec.outputs
    return replace(spec, outputs=outputs, classes=None, labels=())


def _behind_sigmoid(model: onnx.ModelProto, name: str) -> bool:
    editor = Editor(model)
    node = editor.producer(name, "Sigmoid", *_SAME_VALUES)
    while node is not None and node.op_type != "Sigmoid":
        node = editor.producer(node.input[0], "Sigmoid", *_SAME_VALUES)
    return node is not None

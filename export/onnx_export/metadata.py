"""Writes what an exported file says about itself to whoever runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import onnx
from onnx import helper

from export.onnx_export.graph import is_custom
from export.operator_table import CONTRACT_VERSION
from export.recognition import FixedPoint
from export.spec import CompleteSpec

PREFIX = "shiftadd."
PRODUCER = "shiftadd"
FIXED_POINT = "fixed_point"
"""The entry of a file that keeps the rounding of inputs to fixed point; others lack it."""
UNCHECKED = "unchecked"
"""The entry of a file that nobody compared with its network; others lack it."""


def fixed_point_of(properties: Mapping[str, str]) -> FixedPoint:
    """What became of the rounding of inputs when the file with this metadata was exported."""
    return "keep" if properties.get(PREFIX + FIXED_POINT) == "keep" else "drop"


def describe(
    model: onnx.ModelProto,
    spec: CompleteSpec,
    target: str,
    checkpoint_sha256: str,
    fixed_point: FixedPoint = "drop",
    checked: bool = True,
) -> onnx.ModelProto:
    """The model with the metadata the runtime reads: pre-processing, labels, contract, origin."""
    operators = sorted({node.op_type for node in model.graph.node if is_custom(node)})
    entries = {
        "contract_version": str(CONTRACT_VERSION),
        "model": spec.name,
        "target": target,
        **spec.entries(),
        "checkpoint_sha256": checkpoint_sha256,
        "operators": json.dumps(operators),
    }
    if fixed_point != "drop":
        entries[FIXED_POINT] = fixed_point
    if not checked:
        entries[UNCHECKED] = "the outputs were not compared with the network's"
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.producer_name = PRODUCER
    result.ClearField("producer_version")
    result.graph.name = spec.name
    result.ClearField("metadata_props")
    helper.set_model_props(result, {PREFIX + key: value for key, value in entries.items()})
    return result

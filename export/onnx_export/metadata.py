"""Writes what an exported file says about itself to whoever runs it."""

from __future__ import annotations

import json

import onnx
from onnx import helper

from export.models import ModelSpec
from export.onnx_export.graph import is_custom
from export.operator_table import CONTRACT_VERSION

PREFIX = "shiftadd."
PRODUCER = "shiftadd"
UNCHECKED = "unchecked"
"""The entry of a file that nobody compared with its network; others lack it."""


def describe(
    model: onnx.ModelProto,
    spec: ModelSpec,
    target: str,
    checkpoint_sha256: str,
    checked: bool = True,
) -> onnx.ModelProto:
    """The model with the metadata the runtime reads: pre-processing, labels, contract, origin."""
    operators = sorted({node.op_type for node in model.graph.node if is_custom(node)})
    entries = {
        "contract_version": str(CONTRACT_VERSION),
        "model": spec.name,
        "target": target,
        "input_size": json.dumps(spec.input_size),
        "resize": json.dumps(spec.resize),
        "mean": json.dumps(spec.mean),
        "std": json.dumps(spec.std),
        "labels": json.dumps(spec.labels),
        "checkpoint_sha256": checkpoint_sha256,
        "operators": json.dumps(operators),
    }
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

"""From a PyTorch network to an ONNX model: the order of the passes, and what a target needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import onnx
from torch import nn

from export import labels
from export.errors import ExportError
from export.onnx_export import (
    check as contract,
)
from export.onnx_export import (
    classes,
    cleanup,
    constants,
    fold,
    functions,
    fuse,
    metadata,
    naming,
    proof,
    refusals,
    shapes,
    standard,
    symbolic,
    tensorrt82,
    tracing,
)
from export.recognition import FIXED_POINT, FixedPoint, swap_layers
from export.spec import SpecLike, inputs_of, settle
from runtime.core.errors import reason

Target = Literal["jetson-nano", "portable", "standard"]
TARGETS: tuple[Target, ...] = get_args(Target)
IR_VERSION = 7  # the newest that TensorRT 8.2 and ONNX Runtime 1.10 both read


def export_model(
    module: nn.Module,
    spec: SpecLike,
    target: Target = "jetson-nano",
    checkpoint_sha256: str = "",
    fixed_point: FixedPoint = "drop",
    check: bool = True,
) -> onnx.ModelProto:
    """`module` as an ONNX model: opset 13, IR 7, float32 inputs and outputs [N, ...].

    One input is called "input". One output is called by what it holds of classes ("logits",
    "probabilities", "logit", "probability"), or "output". Several inputs have the spec's names,
    several outputs the keys of the dict that they come in, or numbers.

    The module itself is not changed. The same weights give the same bytes.

    Args:
        module: a network of ShiftConv2d, AdderConv2d, their authors' layers
            (`export.recognition`) and what torch.onnx knows.
        spec: input size, normalisation and labels, for shapes and metadata; a `Spec` or an entry
            of the registry.
        target: "jetson-nano": custom nodes, activations fused into them; "portable": custom nodes
            with their ONNX function bodies, activations behind them; "standard": standard
            operators only.
        checkpoint_sha256: of the file the weights are from, "" for none.
        fixed_point: what becomes of the rounding of inputs in DeepShift's layers and their kin:
            "drop" leaves it out, "keep" writes it as nodes.
        check: run the result and compare it with the module (`proof`); the metadata of a model
            that was not compared says so.

    Raises ExportError, in one line, for an unknown target, for a spec that the runtime refuses or
    that does not fit the network, for what cannot be written or would not be what the module
    computes, for a layer whose weights no code holds, and, for "jetson-nano", for what TensorRT 8.2
    does not take.
    """
    for value, known in ((target, TARGETS), (fixed_point, FIXED_POINT)):
        if value not in known:
            what = "target" if known is TARGETS else "fixed_point"
            raise ExportError(f"unknown {what} {value!r}; known {what}s: {', '.join(known)}")
    try:
        module, _ = swap_layers(module, fixed_point)
        inputs = inputs_of(spec)
        network = refusals.copy_of(module)
        layers = symbolic.node_layers(network)
        runs = proof.observe(network, inputs) if check else []
        entries = settle(spec, network)
        traced = _trace(network, layers, inputs)
        entries = classes.judged(traced, entries, _named(spec))
        model = _write(traced, entries.outputs, target)
        model = metadata.describe(model, entries, target, checkpoint_sha256, fixed_point, check)
        onnx.checker.check_model(model, full_check=True)
    except ExportError:
        raise
    # The passes' own refusals, and whatever ONNX, its reference implementation or ONNX Runtime
    # raise for what they are given.
    except Exception as error:
        raise ExportError(reason(error)) from error
    if check:
        proof.check(model, runs, module)
    return model


def _named(spec: SpecLike) -> bool:
    """Whether somebody named the classes: a spec that was completed has names in any case."""
    return spec.labels is not None and tuple(spec.labels) != labels.generic(len(spec.labels))


def _trace(
    network: nn.Module, layers: Mapping[str, nn.Module], inputs: Mapping[str, tuple[int, ...]]
) -> onnx.ModelProto:
    """The graph before the passes that change it; `network` has `layers` put in on the way."""
    modules = dict(network.named_modules()).keys()
    model = tracing.trace(network, layers, inputs)
    model.ir_version = IR_VERSION
    return naming.name_layers(cleanup.clean_up(model), modules)


def _write(model: onnx.ModelProto, outputs: Sequence[str], target: Target) -> onnx.ModelProto:
    """The passes that change the graph, in their order."""
    model = constants.evaluate(naming.name_outputs(model, outputs))
    if any(node.op_type == "Shape" for node in model.graph.node):
        model = constants.evaluate(constants.evaluate_shapes(shapes.infer(model)))
    model = fold.fold_batch_norms(model)
    model = cleanup.drop_whole_slices(shapes.infer(model))
    if target == "jetson-nano":
        model = fuse.fuse_activations(model)
    model = shapes.infer(naming.name_weights(model))
    contract.check_model(model)
    if target == "jetson-nano":
        tensorrt82.check_model(model)
    else:
        model = functions.add_bodies(model)
    return standard.inline(model) if target == "standard" else model

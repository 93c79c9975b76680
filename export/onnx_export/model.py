"""From a PyTorch network to an ONNX model: the order of the passes, and what a target needs."""

from __future__ import annotations

from typing import Literal, get_args

import onnx
from torch import nn

from export.loading.spec import SpecLike, settle
from export.onnx_export import (
    check,
    cleanup,
    constants,
    fold,
    functions,
    fuse,
    metadata,
    naming,
    refusals,
    shapes,
    standard,
    symbolic,
    tensorrt82,
)
from export.recognition import FIXED_POINT, FixedPoint, swap_layers

Target = Literal["jetson-nano", "portable", "standard"]
TARGETS: tuple[Target, ...] = get_args(Target)
IR_VERSION = 7  # the newest that TensorRT 8.2 and ONNX Runtime 1.10 both read


def export_model(
    module: nn.Module,
    spec: SpecLike,
    target: Target = "jetson-nano",
    checkpoint_sha256: str = "",
    fixed_point: FixedPoint = "drop",
) -> onnx.ModelProto:
    """`module` as an ONNX model: opset 13, IR 7, input "input" [N,C,H,W], output "logits".

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

    Raises ValueError for an unknown target, for a spec that the runtime refuses or that does not
    fit the network, for a layer whose weights no code holds, where a value gets no shape, and, for
    "jetson-nano", for what TensorRT 8.2 does not take.
    """
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}; known targets: {', '.join(TARGETS)}")
    if fixed_point not in FIXED_POINT:
        raise ValueError(f"fixed_point must be one of {FIXED_POINT}, got {fixed_point!r}")
    module, _ = swap_layers(module, fixed_point)
    entries = settle(spec, module)
    network = refusals.copy_of(module)
    model = symbolic.trace(network, entries.input_size)
    model.ir_version = IR_VERSION
    model = naming.name_layers(cleanup.clean_up(model), dict(module.named_modules()).keys())
    model = constants.evaluate(model)
    model = fold.fold_batch_norms(model)
    model = cleanup.drop_whole_slices(shapes.infer(model))
    if target == "jetson-nano":
        model = fuse.fuse_activations(model)
    model = shapes.infer(naming.name_weights(model))
    check.check_model(model)
    if target == "jetson-nano":
        tensorrt82.check_model(model)
    else:
        model = functions.add_bodies(model)
    if target == "standard":
        model = standard.inline(model)
    model = metadata.describe(model, entries, target, checkpoint_sha256, fixed_point)
    onnx.checker.check_model(model, full_check=True)
    return model

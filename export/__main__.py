"""`python -m export MODEL`: writes a network of the registry as an ONNX file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from export.loading.fixed_point import effect
from export.loading.options import (
    OpenedModel,
    add_fixed_point,
    add_model,
    add_spec,
    open_model,
)
from export.models import MODELS
from export.onnx_export.model import TARGETS, Target, export_model
from export.onnx_export.writer import write_model
from runtime.console.commandline import FINE, Parser, leave, remark, show
from runtime.core.errors import ShiftAddError
from runtime.core.selection import class_names

_REPOSITORY = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        for line in _catalogue():
            show(line)
        return FINE
    if options.model is None:
        parser.error("which MODEL? known models: " + ", ".join(MODELS))
    opened = open_model(options, options.checkpoint, options.fixed_point)
    name = opened.spec.name
    try:
        model = export_model(
            opened.network,
            opened.spec,
            options.target,
            opened.sha256,
            options.fixed_point,
            check=not options.no_check,
        )
    except ValueError as error:
        raise ShiftAddError(f"cannot export {name}: {error}") from error
    path = options.out / file_name(name, options.target)
    size = write_model(model, path)
    for line in _summary(model, path, size, options.target, opened, options.checkpoint):
        show(line)
    for line in effect(opened, options.fixed_point):
        show(line)
    _warn_of_equal_labels(opened.spec.labels)
    if not opened.sha256:
        _warn_untrained(opened)
    return FINE


def file_name(model: str, target: Target) -> str:
    """The name of the file a target is written to."""
    return f"{model}.onnx" if target == "jetson-nano" else f"{model}.{target}.onnx"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m export",
        description="Writes a network as an ONNX file with ShiftConv and AdderConv operators.",
    )
    add_model(parser, optional=True)
    add_spec(parser)
    add_fixed_point(parser)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="trained weights, .safetensors or what torch.save wrote (default: the shipped ones)",
    )
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default="jetson-nano",
        help="jetson-nano: custom operators with fused activations, for the operator library and "
        "TensorRT; portable: custom operators with ONNX function bodies, which run without the "
        "library too; standard: standard operators only, for converters (default: %(default)s)",
    )
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="do not run the exported network and compare it with PyTorch's; its file says so",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=_REPOSITORY / "build" / "models",
        help="the folder to write to (default: build/models of the checkout)",
    )
    parser.add_argument("--list", action="store_true", help="list the models and leave")
    return parser


def _catalogue() -> Iterator[str]:
    width = max(map(len, MODELS))
    for spec in MODELS.values():
        shipped = spec.weights is not None and spec.weights.is_file()
        yield f"{spec.name:{width}}  {spec.summary}{'' if shipped else ' (no weights shipped)'}"


def _summary(
    model: onnx.ModelProto,
    path: Path,
    size: int,
    target: Target,
    opened: OpenedModel,
    checkpoint: Path | None,
) -> Iterator[str]:
    counts = Counter(node.op_type for node in model.graph.node)
    opsets = ", ".join(
        f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import
    )
    parameters = sum(parameter.numel() for parameter in opened.original.parameters())
    source = checkpoint or (opened.source.weights if opened.sha256 else None)
    yield f"file        {path}"
    yield f"size        {size:,} bytes"
    yield f"target      {target} (opset {opsets}, IR {model.ir_version})"
    yield "operators   " + ", ".join(f"{name} {count}" for name, count in counts.most_common())
    yield f"parameters  {parameters:,}"
    yield f"checkpoint  {source or 'none'}"
    yield from opened.chosen
    kinds = Counter((swap.theirs, swap.ours) for swap in opened.swaps)
    for (theirs, ours), count in kinds.items():
        yield f"recognised  {count} {theirs} as {ours}"
    unchecked = [swap.name for swap in opened.swaps if not swap.checked]
    if unchecked:
        yield (
            f"unchecked   {len(unchecked)} of these by what they carry alone: their own forward "
            f"does not run on this machine ({unchecked[0]})"
        )


def _warn_of_equal_labels(labels: Sequence[str]) -> None:
    shared = [
        name for name, label in zip(class_names(labels), labels, strict=True) if name != label
    ]
    if shared:
        remark(
            f"warning: {len(shared)} classes share a label with another, by which results do not "
            f"tell them apart; a data set's folders are named {', '.join(shared[:3])}"
            f"{', ...' if len(shared) > 3 else ''}"
        )


def _warn_untrained(opened: OpenedModel) -> None:
    name = opened.spec.name
    if opened.source.registered is not None:
        remark(
            f"warning: no trained weights for {name}: it was exported with fresh ones, and its "
            "answers mean nothing; give trained ones with --checkpoint FILE"
        )
        return
    remark(
        f"warning: no checkpoint for {name}: it was exported with the weights that it is made "
        "with; give trained ones with --checkpoint FILE"
    )


if __name__ == "__main__":
    leave(main)

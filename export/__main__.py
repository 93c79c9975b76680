"""`python -m export MODEL`: writes a network of the registry as an ONNX file."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from export.checkpoint import load_model
from export.models import MODELS, ModelSpec
from export.onnx_export.model import TARGETS, Target, export_model
from export.onnx_export.writer import write_model
from runtime.console.commandline import BAD_INPUT, FINE, Parser, complain, leave, show
from runtime.core.errors import ShiftAddError

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
    if options.model not in MODELS:
        complain(f"unknown model {options.model!r}; known models: {', '.join(MODELS)}")
        return BAD_INPUT
    spec = MODELS[options.model]
    network, sha256 = load_model(spec.name, options.checkpoint)
    try:
        model = export_model(network, spec, options.target, sha256, check=not options.no_check)
    except ValueError as error:
        raise ShiftAddError(f"cannot export {spec.name}: {error}") from error
    path = options.out / file_name(spec.name, options.target)
    size = write_model(model, path)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    source = options.checkpoint or (spec.weights if sha256 else None)
    for line in _summary(model, path, size, options.target, parameters, source):
        show(line)
    if not sha256:
        _warn_untrained(spec)
    return FINE


def file_name(model: str, target: Target) -> str:
    """The name of the file a target is written to."""
    return f"{model}.onnx" if target == "jetson-nano" else f"{model}.{target}.onnx"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m export",
        description="Writes a network as an ONNX file with ShiftConv and AdderConv operators.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a name that --list shows")
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
    parameters: int,
    source: Path | None,
) -> Iterator[str]:
    counts = Counter(node.op_type for node in model.graph.node)
    opsets = ", ".join(
        f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import
    )
    yield f"file        {path}"
    yield f"size        {size:,} bytes"
    yield f"target      {target} (opset {opsets}, IR {model.ir_version})"
    yield "operators   " + ", ".join(f"{name} {count}" for name, count in counts.most_common())
    yield f"parameters  {parameters:,}"
    yield f"checkpoint  {source or 'none'}"


def _warn_untrained(spec: ModelSpec) -> None:
    print(
        f"warning: no trained weights for {spec.name}: it was exported with fresh ones, and its "
        "answers mean nothing; give trained ones with --checkpoint FILE",
        file=sys.stderr,
    )


if __name__ == "__main__":
    leave(main)

"""`python -m calibration MODEL.onnx --data PATH`: measures ranges, writes the integer model.

The table of the ranges is written beside the model, and once more as a calibration cache for
TensorRT.

Exit codes: 0 fine; 1 some images could not be read, the others count; 2 bad usage, or a model, a
table or a data set that cannot be used. Where it is 2 no file was written.
"""

from __future__ import annotations

import argparse
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx

from calibration import table as calibration_table
from calibration import tensorrt_cache
from calibration.comparison.options import MODELS, add_library
from calibration.comparison.text import some
from calibration.model_file import ModelFile
from calibration.proof import Agreement, Float32, prove
from calibration.quantization import Range, grid_over
from calibration.quantize import Forms, forms, quantize_model
from calibration.ranges import METHODS, choose, observe
from calibration.samples import Samples
from calibration.sensitivity import Choice, Search, decibels
from calibration.table import Table
from runtime.console.commandline import FINE, SOME_FAILED, Parser, leave, positive, show
from runtime.core.errors import ModelError, ShiftAddError, one_line
from runtime.core.files import replaced
from runtime.engines.tensorrt.calibration_cache import header

# One image's activations in a GhostNet at 224x224 are 42 MB.
_BATCH_SIZE = 4
# The search runs the model some hundred times, so it takes few images; they tell layers apart well
# enough.
_SEARCH_IMAGES = 64
_TARGET = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.data is None and options.table is None:
        parser.error("which images? --data PATH; or the table of an earlier run: --table FILE")
    if options.sensitivity is not None and options.data is None:
        parser.error("--sensitivity runs the model: name its images with --data PATH")
    out = options.out or MODELS / f"{options.model.stem}.int8.onnx"
    table_path = options.table or out.with_suffix(".json")
    cache_path = out.with_suffix(".cache")
    _check_paths(options.model, out, table_path, cache_path)
    model = _load(options.model)
    samples = None if options.data is None else Samples(options.data, options.samples)
    if samples is None:
        table = calibration_table.read(table_path, model.sha256)
    else:
        table = _calibrated(model, samples, options.method, options.library)
    choice = None
    if options.sensitivity is not None:
        choice = _sensitive(model, table, options)
    kept = (*options.keep_float, *(choice.kept if choice else ()))
    content = _quantized(model, table, kept)
    agreement = _proved(model, content, samples, options.library)
    contents = {
        cache_path: ("calibration cache", tensorrt_cache.to_bytes(table, options.tensorrt)),
        out: ("model", content),
    }
    if samples is not None:
        text = calibration_table.to_bytes(table)
        contents = {table_path: ("calibration table", text), **contents}
    _write(contents)
    for line in _summary(model, table, out, len(content), table_path, cache_path):
        show(line)
    for line in choice.lines() if choice else ():
        show(line)
    show("")
    for line in _closing(forms(model.model, table, kept), agreement):
        show(line)
    return SOME_FAILED if samples and samples.bad else FINE


def _parser() -> Parser:
    parser = Parser(
        prog="python -m calibration",
        description="Measures the ranges of a model's activations over images, and writes the "
        "model with 8-bit integers and the table of its ranges.",
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL.onnx", help="a float model written by `make export`"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="images: a folder, or a zip with images at class_name/file; without it the ranges "
        "are those of --table",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="mse",
        help="how a range is chosen: all values; all but 0.01 %% of them; the least divergence of "
        "the distribution; the least squared error (default: %(default)s)",
    )
    parser.add_argument(
        "--samples",
        type=positive,
        default=512,
        metavar="N",
        help="images to take, evenly spread over all (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the integer model (default: build/models/MODEL.int8.onnx of the checkout)",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="the calibration table, written, or without --data read (default: beside the "
        "integer model, MODEL.int8.json)",
    )
    parser.add_argument(
        "--keep-float",
        type=_names,
        default=(),
        metavar="NODE,...",
        help="names of nodes that go on computing in float",
    )
    parser.add_argument(
        "--sensitivity",
        type=decibels,
        nargs="?",
        const=_TARGET,
        metavar="DB",
        help="keep those few further nodes in float that the logits need to reach this "
        f"signal-to-noise ratio (without a number: {_TARGET:g} dB)",
    )
    parser.add_argument(
        "--tensorrt",
        type=_tensorrt,
        default=tensorrt_cache.XAVIER,
        metavar="VERSION",
        help="the TensorRT that the calibration cache is for, which goes beside the integer model "
        "as MODEL.int8.cache (default: %(default)s, of JetPack 4.6)",
    )
    add_library(parser)
    return parser


def _tensorrt(version: str) -> str:
    try:
        header(version, "entropy")
    except ModelError as error:
        raise ArgumentTypeError(str(error)) from error
    return version


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _check_paths(model: Path, out: Path, table: Path, cache: Path) -> None:
    """Refuses paths, before minutes of work, that would make the command fail afterwards or
    overwrite an input."""
    if len({path.resolve() for path in (model, out, table, cache)}) < 4:
        raise ShiftAddError(
            f"{model}, {out}, {table} and {cache}: the model, the integer model, the table and "
            "TensorRT's cache are to be four files; choose others with --out and --table"
        )
    for path in (out, table, cache):
        if path.is_dir():
            raise ShiftAddError(f"{path}: a folder, where a file is to be written")


def _load(path: Path) -> ModelFile:
    model = ModelFile(path)
    if any(name.startswith("QLinear") for name in model.metadata.operators):
        raise ModelError(f"{path}: an integer model already: calibrate the float one it is of")
    return model


def _calibrated(model: ModelFile, samples: Samples, method: str, library: str | None) -> Table:
    batches = samples.batches(model.metadata, _BATCH_SIZE)
    try:
        observed = observe(model.model, model.metadata, batches, method, library)
        ranges = choose(observed, method)
    except ModelError as error:
        raise ModelError(f"{model.path}: {error}") from error
    return Table(
        model=model.metadata.model,
        model_sha256=model.sha256,
        method=method,
        samples=samples.used,
        data_sha256=samples.sha256,
        ranges=ranges,
    )


def _sensitive(model: ModelFile, table: Table, options: argparse.Namespace) -> Choice:
    """Searches for nodes to keep in float in addition to those that were named."""
    samples = Samples(options.data, min(options.samples, _SEARCH_IMAGES))
    images = list(samples.batches(model.metadata, _BATCH_SIZE))
    try:
        search = Search(
            model.model, table, model.metadata, images, options.keep_float, options.library
        )
        return search.choose(options.sensitivity)
    except (ValueError, ShiftAddError) as error:
        raise ModelError(f"{model.path}: {one_line(error)}") from error


def _quantized(model: ModelFile, table: Table, keep_float: Sequence[str]) -> bytes:
    """The integer model's file."""
    try:
        quantized = quantize_model(model.model, table, keep_float)
    except (ValueError, ShiftAddError) as error:
        raise ModelError(f"{model.path}: {one_line(error)}") from error
    return bytes(quantized.SerializeToString(deterministic=True))


def _proved(
    model: ModelFile, content: bytes, samples: Samples | None, library: str | None
) -> Agreement | None:
    """Both models on the calibration's images; without any the integer one runs on noise."""
    metadata = model.metadata
    if samples is not None:
        batches: Iterable[Float32] = samples.again(metadata, _BATCH_SIZE)
    else:
        shape = (_BATCH_SIZE, *metadata.input_size)
        batches = [np.random.default_rng().standard_normal(shape).astype(np.float32)]
    try:
        agreement = prove(model.model, content, metadata, batches, library)
    except ModelError as error:
        raise ModelError(f"{model.path}: {error}") from error
    return agreement if samples is not None else None


def _closing(made: Forms, agreement: Agreement | None) -> Iterator[str]:
    """What is integer and what is not, and what that does to the answers."""
    left = sum(map(len, made.in_float.values()))
    because = "; these stay in float:" if left else ""
    yield f"integer  {made.layers - left} of {made.layers} layers{because}"
    for reason, names in made.in_float.items():
        yield f"         {some(names)}, because {reason}"
    if made.others:
        kinds = [name if n == 1 else f"{n} {name}" for name, n in sorted(made.others.items())]
        yield f"         in float beside the layers: {', '.join(kinds)}"
    if agreement is not None:
        yield f"agrees   {agreement.line}"


def _write(contents: Mapping[Path, tuple[str, bytes]]) -> None:
    """Writes all of the files or none: each is written completely beside its place before the first
    is moved."""
    with ExitStack() as stack:
        for path, (what, content) in contents.items():
            file = stack.enter_context(replaced(path, what))
            file.write(content)
            file.flush()


def _summary(
    model: ModelFile, table: Table, out: Path, size: int, table_path: Path, cache_path: Path
) -> Iterator[str]:
    yield f"model    {out} ({size:,} bytes; float {model.path.stat().st_size:,})"
    yield f"table    {table_path}; for TensorRT {cache_path}"
    yield f"ranges   {len(table.ranges)} by {table.method} over {table.samples} images"
    yield ""
    header = ("lowest", "highest", "finest", "coarsest")
    yield f"{'made by':<20} tensors " + " ".join(f"{title:>9}" for title in header)
    for operator, ranges in _by_operator(model.model.graph, table.ranges).items():
        scales = [grid_over(name, limits).scale for name, limits in ranges.items()]
        low = min(limits.low for limits in ranges.values())
        high = max(limits.high for limits in ranges.values())
        yield (
            f"{operator:<20} {len(ranges):>7} {low:>9.4g} {high:>9.4g} "
            f"{min(scales):>9.4g} {max(scales):>9.4g}"
        )
    yield "finest, coarsest: the least and the largest difference of two neighbouring codes"
    constants = [f"{name} ({each.low:g})" for name, each in table.ranges.items() if each.constant]
    if constants:
        yield (
            f"dead: {len(constants)} of {len(table.ranges)} activations hold one value, whatever "
            f"the image: {some(constants)}"
        )


def _by_operator(
    graph: onnx.GraphProto, ranges: Mapping[str, Range]
) -> dict[str, dict[str, Range]]:
    """The ranges by the operator that makes the tensor; the input's is "input"."""
    makers = {name: node.op_type for node in graph.node for name in node.output}
    groups: dict[str, dict[str, Range]] = {}
    for name, limits in ranges.items():
        groups.setdefault(makers.get(name, "input"), {})[name] = limits
    return groups


if __name__ == "__main__":
    leave(main)

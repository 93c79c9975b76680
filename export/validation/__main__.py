"""`python -m export.validation MODEL`: compares an exported file with PyTorch, or with another.

Exit codes: 0 all is within tolerance; 1 a tolerance is broken; 2 bad usage or bad input.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from calibration.comparison.backend import BackendFactory
from calibration.comparison.environment import library_facts, machine_facts, now
from calibration.comparison.inputs import random_inputs, real_inputs
from calibration.comparison.onnxruntime_backend import OnnxRuntimeBackend
from calibration.comparison.options import MODELS as MODEL_FILES
from calibration.comparison.options import add_library, add_report_dir, add_summary
from export.checkpoint import load_network
from export.loading.options import add_model, find_source
from export.loading.resolve import Source
from export.models import MODELS
from export.recognition import swap_layers
from export.validation import two_files
from export.validation.compare import compare
from export.validation.exported import ExportedModel
from export.validation.reference import Reference
from export.validation.report import report_on
from runtime.console.commandline import (
    FINE,
    SOME_FAILED,
    Parser,
    leave,
    positive,
    remark,
    show,
)
from runtime.core.errors import ModelError
from runtime.core.metadata import Metadata

_BACKENDS = ("onnxruntime", "tensorrt")
_PRECISIONS = ("fp32", "fp16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.precision and options.backend != "tensorrt":
        parser.error("--precision: ONNX Runtime computes in fp32; choose --backend tensorrt")
    if options.reference is not None:
        return _compare_with_file(options)
    if options.model is None:
        parser.error("which MODEL? or, to compare two files, --model-file and --reference")
    source = find_source(options)
    path = options.model_file or MODEL_FILES / f"{source.name}.onnx"
    if not path.is_file():
        raise ModelError(f"{path}: no such file: write it with `make export MODEL={options.model}`")
    exported = ExportedModel(path, options.library, _backend(options))
    network, checkpoint_sha256 = _network(source, options.checkpoint, exported)
    _check_origin(exported, source, checkpoint_sha256, options.model_file is not None)
    inputs, seed = _inputs(options, exported.metadata)
    results = compare(exported, Reference(network, exported.metadata.input_size), inputs)
    facts = _facts(exported, checkpoint_sha256, seed, options.images)
    report = report_on(results, f"{path.name} against PyTorch", facts)
    report.publish(
        options.report_dir / f"{path.stem}-validation{_suffix(options)}.html", options.summary
    )
    return FINE if report.passed else SOME_FAILED


def _network(
    source: Source, checkpoint: Path | None, exported: ExportedModel
) -> tuple[nn.Module, str]:
    """The network whose file `exported` is to be, with the authors' layers replaced as there."""
    network, checkpoint_sha256 = load_network(source, checkpoint)
    try:
        return swap_layers(network, exported.fixed_point)[0], checkpoint_sha256
    except ValueError as error:
        raise ModelError(f"cannot use {source.name}: {error}") from error


def _inputs(
    options: argparse.Namespace, metadata: Metadata
) -> tuple[dict[str, npt.NDArray[np.float32]], int]:
    """The inputs by kind, and the seed of the random ones."""
    # A single layer has too little work for threads to be worth waiting for each other.
    torch.set_num_threads(1)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    inputs = {
        "random": random_inputs(options.count, metadata.input_size, seed),
        "real": real_inputs(options.images, options.count, metadata),
    }
    return inputs, seed


def _compare_with_file(options: argparse.Namespace) -> int:
    """The command with --reference; its exit code."""
    if options.model_file is None:
        raise ModelError("which file is to be compared with the reference? give --model-file")
    for path in (options.model_file, options.reference):
        if not path.is_file():
            raise ModelError(f"{path}: no such file")
    ours = ExportedModel(options.model_file, options.library, _backend(options))
    theirs = ExportedModel(options.reference, options.library, _backend(options))
    inputs, seed = _inputs(options, ours.metadata)
    difference = two_files.compare_files(ours, theirs, inputs)
    for line in two_files.lines(difference, str(ours.path), str(theirs.path)):
        show(line)
    show(f"seed of the random inputs: {seed}")
    return FINE if difference.passed else SOME_FAILED


def _parser() -> Parser:
    parser = Parser(
        prog="python -m export.validation",
        description="Compares an exported model, run by ONNX Runtime with the operator library or "
        "by TensorRT with the plugin library, with PyTorch: end to end and layer by layer, on "
        "random and on real images.",
    )
    add_model(parser, optional=True)
    parser.add_argument(
        "--model-file",
        type=Path,
        metavar="FILE",
        help="the exported file (default: build/models/MODEL.onnx of the checkout)",
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="compare --model-file with this exported file, and not with PyTorch",
    )
    parser.add_argument(
        "--backend",
        choices=_BACKENDS,
        default=_BACKENDS[0],
        help="what runs the file (default: %(default)s; tensorrt needs a GPU, and builds engines)",
    )
    parser.add_argument(
        "--precision",
        choices=_PRECISIONS,
        help="what TensorRT computes in (default: fp32)",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="the weights that the file was exported from (default: the shipped ones)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="PATH",
        help="image files, folders of images, or zips with images at class_name/file (default: "
        "patches of scikit-image's sample photographs)",
    )
    parser.add_argument(
        "--count",
        type=positive,
        default=16,
        metavar="N",
        help="random inputs, and real images at most (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="of the random inputs (default: drawn; the report tells it)",
    )
    add_report_dir(parser)
    add_summary(parser)
    add_library(parser, ", or TensorRT's plugin library ($SHIFTADD_TENSORRT_LIBRARY likewise)")
    return parser


def _backend(options: argparse.Namespace) -> BackendFactory:
    if options.backend == "onnxruntime":
        return OnnxRuntimeBackend
    # This is imported only where it is asked for, since few machines have TensorRT.
    from calibration.comparison.tensorrt_backend import TensorRtBackend

    return partial(TensorRtBackend, precision=options.precision or _PRECISIONS[0])


def _suffix(options: argparse.Namespace) -> str:
    """What the name of a report has in addition to that of ONNX Runtime's."""
    if options.backend == "onnxruntime":
        return ""
    return f"-tensorrt-{options.precision or _PRECISIONS[0]}"


def _check_origin(
    exported: ExportedModel, source: Source, checkpoint_sha256: str, named: bool
) -> None:
    """Refuses to compare a file with another network or other weights, where every layer would
    differ.

    A file of a user's network that was named may be called otherwise; one that does not say which
    weights it has, as `export_model` alone writes it, is compared with those that are here.
    """
    metadata = exported.metadata
    if metadata.model != source.name and (source.registered is not None or not named):
        origin = metadata.model if metadata.model in MODELS else "file.py:callable"
        raise ModelError(
            f"{exported.path}: is of the model {metadata.model}, not of {source.name}: give the "
            f"network that it was exported from (MODEL={origin}), or another exported file to "
            "compare it with (REFERENCE=file, --reference)"
        )
    if metadata.checkpoint_sha256 == checkpoint_sha256:
        return
    if not metadata.checkpoint_sha256:
        remark(f"{exported.path}: does not say which weights it has: those here are compared")
        return
    raise ModelError(
        f"{exported.path}: was exported from {_weights(metadata.checkpoint_sha256)}, PyTorch "
        f"has {_weights(checkpoint_sha256)}: export it again, or name the weights "
        "(CHECKPOINT=file, --checkpoint)"
    )


def _weights(sha256: str) -> str:
    return f"the weights with SHA-256 {sha256[:12]}..." if sha256 else "fresh weights"


def _facts(
    exported: ExportedModel, checkpoint_sha256: str, seed: int, images: Sequence[str]
) -> dict[str, str]:
    backend, metadata = exported.backend, exported.metadata
    return {
        "date": now(),
        "file": str(exported.path),
        "file's SHA-256": exported.sha256,
        "target": metadata.target,
        "contract version": str(metadata.contract_version),
        "weights' SHA-256": checkpoint_sha256 or "none: fresh weights",
        **backend.facts(),
        **library_facts(backend.library),
        "real images": ", ".join(images) or "patches of scikit-image's sample photographs",
        "seed of the random inputs": str(seed),
        **machine_facts(("torch", "onnx", *backend.packages, "numpy", "Pillow")),
    }


if __name__ == "__main__":
    leave(main)

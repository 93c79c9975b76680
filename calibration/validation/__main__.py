"""`python -m calibration.validation MODEL.int8.onnx --float MODEL.onnx`: compares the two.

Exit codes: 0 every floor is kept; 1 one is not; 2 bad usage or bad input.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calibration.comparison.environment import library_facts, machine_facts, now
from calibration.comparison.inputs import labelled_inputs, real_inputs
from calibration.comparison.options import add_library, add_report_dir, add_summary
from calibration.model_file import ModelFile
from calibration.validation.compare import compare
from calibration.validation.pair import Pair
from calibration.validation.report import report_on
from runtime.console.commandline import FINE, SOME_FAILED, Parser, leave, positive
from runtime.core.errors import ModelError

_INTEGER_SUFFIX = ".int8"

# Int8 can change the best class where two were nearly equal. The shipped GhostShiftAddNet gives
# another class to 1 % of CIFAR-10's test images, and to a tenth of the patches, which show none of
# its classes.
_LEAST_AGREEMENT = 0.95
_LEAST_AGREEMENT_OF_PATCHES = 0.8


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    integer = options.model
    float_path = options.float or _float_path(integer)
    for path, how in ((integer, "make calibrate"), (float_path, "make export")):
        if not path.is_file():
            raise ModelError(f"{path}: no such file: write it with `{how} MODEL=...`")
    pair = Pair(
        ModelFile(float_path),
        ModelFile(integer),
        options.table or integer.with_suffix(".json"),
        options.library,
    )
    metadata = pair.float_file.metadata
    if options.data is None:
        images, classes = real_inputs([], options.count, metadata), None
        result = compare(pair, images, _LEAST_AGREEMENT_OF_PATCHES)
    else:
        images, classes = labelled_inputs(options.data, options.count, metadata)
        result = compare(pair, images, _LEAST_AGREEMENT, classes)
    title = f"{integer.name} against {float_path.name}"
    report = report_on(result, title, _facts(pair, options.data))
    report.publish(options.report_dir / f"{integer.stem}-validation.html", options.summary)
    return FINE if result.passed else SOME_FAILED


def _parser() -> Parser:
    parser = Parser(
        prog="python -m calibration.validation",
        description="Compares an integer model with the float model that it was made from, both "
        "run by ONNX Runtime with the operator library: end to end and layer by layer.",
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL.int8.onnx", help="written by `make calibrate`"
    )
    parser.add_argument(
        "--float",
        type=Path,
        metavar="FILE",
        help="the float model (default: the integer model's name without .int8)",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="the calibration table (default: beside the integer model, MODEL.int8.json)",
    )
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="an image, a folder or a zip; with images at class_name/file the top-1 is told "
        "(default: patches of scikit-image's sample photographs)",
    )
    parser.add_argument(
        "--count",
        type=positive,
        default=256,
        metavar="N",
        help="images to take, evenly spread over all (default: %(default)s)",
    )
    add_report_dir(parser)
    add_summary(parser)
    add_library(parser)
    return parser


def _float_path(integer: Path) -> Path:
    if not integer.stem.endswith(_INTEGER_SUFFIX):
        raise ModelError(
            f"{integer}: is not called MODEL{_INTEGER_SUFFIX}.onnx: name the float model that it "
            "was made from with --float"
        )
    return integer.with_name(integer.stem.removesuffix(_INTEGER_SUFFIX) + integer.suffix)


def _facts(pair: Pair, data: str | None) -> dict[str, str]:
    table = pair.table
    return {
        "date": now(),
        "integer file": str(pair.integer_file.path),
        "integer file's SHA-256": pair.integer_file.sha256,
        "integer file's bytes": f"{len(pair.integer_file.content):,}",
        "float file": str(pair.float_file.path),
        "float file's SHA-256": pair.float_file.sha256,
        "float file's bytes": f"{len(pair.float_file.content):,}",
        "ranges": f"{table.method} over {table.samples} images",
        "their data's SHA-256": table.data_sha256,
        "images": data or "patches of scikit-image's sample photographs",
        **library_facts(pair.backend.library),
        **machine_facts(("onnx", *pair.backend.packages, "numpy", "Pillow")),
    }


if __name__ == "__main__":
    leave(main)

"""`python -m calibration.validation MODEL.int8.onnx --float MODEL.onnx`: compares the two.

Exit codes: 0 every floor is kept; 1 one is not; 2 bad usage or bad input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from calibration.comparison.environment import library_facts, machine_facts, now
from calibration.comparison.inputs import labelled_inputs, real_inputs
from calibration.comparison.text import table
from calibration.model_file import ModelFile
from calibration.validation import rows
from calibration.validation.compare import Result, compare
from calibration.validation.pair import Pair
from calibration.validation.report import write_report
from runtime.console.commandline import FINE, SOME_FAILED, Parser, leave, positive, show
from runtime.core.errors import ModelError

_REPOSITORY = Path(__file__).resolve().parents[2]
_INTEGER_SUFFIX = ".int8"

# Int8 turns over what was nearly a tie. Of CIFAR-10's test images the shipped GhostShiftAddNet
# judges 1 % otherwise; of the patches, which show none of its classes, it judges a tenth otherwise.
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
    report = options.report_dir / f"{integer.stem}-validation.html"
    facts = _facts(pair, options.data)
    write_report(report, f"{integer.name} against {float_path.name}", facts, result)
    _show(result, report, options.summary)
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
    parser.add_argument(
        "--report-dir",
        type=Path,
        default=_REPOSITORY / "build" / "reports",
        metavar="DIR",
        help="where the report goes (default: build/reports of the checkout)",
    )
    parser.add_argument(
        "--summary",
        action="store_true",
        help="print the worst layer and the logits only; the report has all layers",
    )
    parser.add_argument(
        "--library",
        metavar="PATH",
        help="the operator library (default: $SHIFTADD_ORT_LIBRARY, or build/plugins/ of the "
        "checkout)",
    )
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


def _show(result: Result, report: Path, summary: bool) -> None:
    for line in rows.summary(result) if summary else _page(result):
        show(line)
    show(f"report: {report}")


def _page(result: Result) -> Iterator[str]:
    layers = [rows.layer_cells(layer) for layer in result.worst_first]
    yield from table(rows.LAYER_HEADER, layers)
    yield ""
    yield from table(rows.logits_header(result), [rows.logits_cells(result)])
    yield ""
    yield from rows.verdicts(result)


if __name__ == "__main__":
    leave(main)

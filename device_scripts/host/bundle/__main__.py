"""`python -m device_scripts.host.bundle MODEL`: the archive that takes a model to a Jetson Nano.

Exit codes: 0 written; 2 bad usage, or something is missing or cannot be used: no file is written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from calibration import table as calibration_table
from calibration.model_file import ModelFile
from device_scripts.host import boards
from device_scripts.host.bundle import archive, contents, reference
from export.loading.options import add_model, find_source
from runtime.console.commandline import FINE, Parser, leave, show
from runtime.core.errors import ModelError
from runtime.core.places import ROOT

_REPOSITORY = Path(ROOT)
_BUILD = _REPOSITORY / "build"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code. Raises ShiftAddError."""
    options = _parser().parse_args(arguments)
    source = find_source(options)
    name = source.name
    board = boards.find(options.board)
    built = options.library or _BUILD / "plugins" / board.name / contents.LIBRARY
    packed = {
        **contents.of_checkout(_REPOSITORY, board),
        **contents.library(built, board),
        **contents.photographs(),
    }
    float_path = options.models / f"{name}.onnx"
    float_file = _float_model(float_path, name)
    int8_path, why_not = _integer_model(float_file, options.models / f"{name}.int8.onnx")
    packed[f"models/{name}.onnx"] = float_file.content
    if int8_path is not None:
        for path in (int8_path, int8_path.with_suffix(".cache")):
            packed[f"models/{path.name}"] = contents.read(path, _CALIBRATE.format(name))
    packed[f"reference/{name}.npz"] = reference.make(
        source, float_path, float_file.metadata, int8_path, options.checkpoint, options.host_library
    )
    out = options.out / f"{name}-{board.name}.tar.gz"
    archive.write(out, name, contents.version(_REPOSITORY), packed)
    show(f"bundle  {out} ({out.stat().st_size:,} bytes, {len(packed)} files)")
    if why_not:
        print(f"warning: the bundle has no int8 model: {why_not}", file=sys.stderr)
    return FINE


_CALIBRATE = "`make calibrate MODEL={} DATA=folder-or-zip`"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m device_scripts.host.bundle",
        description="Writes the archive that takes a model to a Jetson Nano: runtime, operator "
        "library, plugin sources, models, device scripts, and a reference to check them with.",
    )
    add_model(parser)
    parser.add_argument(
        "--models", type=Path, default=_BUILD / "models", metavar="DIR",
        help="the folder with MODEL.onnx, and MODEL.int8.onnx if there is one (default: "
        "build/models of the checkout)",
    )  # fmt: skip
    parser.add_argument(
        "--board", default=boards.JETSON_NANO, metavar="NAME",
        help="the board, a folder of device_scripts/boards (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--library", type=Path, metavar="FILE",
        help="the board's operator library (default: build/plugins/BOARD/ of the checkout)",
    )  # fmt: skip
    parser.add_argument(
        "--host-library", metavar="FILE",
        help="this machine's operator library, which gives the integer model's reference "
        "(default: $SHIFTADD_ORT_LIBRARY, or build/plugins/ of the checkout)",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE",
        help="the weights that the model was exported from (default: the shipped ones)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=_BUILD / "bundles", metavar="DIR",
        help="the folder for MODEL-BOARD.tar.gz (default: build/bundles of the checkout)",
    )  # fmt: skip
    return parser


def _float_model(path: Path, name: str) -> ModelFile:
    contents.read(path, f"`make export MODEL={name}`")
    model = ModelFile(path)
    if (model.metadata.model, model.metadata.target) != (name, "jetson-nano"):
        raise ModelError(
            f"{path}: is {model.metadata.model} for the target {model.metadata.target}, not {name} "
            f"for jetson-nano: write it again with `make export MODEL={name}`"
        )
    if model.external:
        raise ModelError(
            f"{path}: its weights lie in another file, which a bundle does not take: write it "
            f"again with `make export MODEL={name}`"
        )
    return model


def _integer_model(float_file: ModelFile, path: Path) -> tuple[Path | None, str]:
    """The integer model's path if it is of this float model; else why there is none."""
    if not path.is_file():
        name = float_file.metadata.model
        return None, f"no {path}: write it with {_CALIBRATE.format(name)}, and bundle again"
    try:
        calibration_table.read(path.with_suffix(".json"), float_file.sha256)
    except ModelError as error:
        return None, str(error)
    return path, ""


if __name__ == "__main__":
    leave(main)

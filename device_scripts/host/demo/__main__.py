"""`python -m device_scripts.host.demo MODEL --model-file FILE`: what `make demo` ends with.

The exported file is compared with PyTorch, made into an integer model, compared with that, and both
classify a photograph. Exit codes: 0 fine; 1 a comparison failed; 2 bad usage or bad input.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import calibration.__main__
import calibration.validation.__main__
import export.validation.__main__
from calibration.comparison.inputs import sample_patches, sample_photographs
from device_scripts.host.demo.photograph import side_by_side
from runtime.console.commandline import BAD_INPUT, FINE, SOME_FAILED, Parser, leave, show

_FOLDER = Path("build") / "demo"
_REPORTS = Path("build") / "reports"
_PATCHES = 64
_PHOTOGRAPH = "chelsea.png"
_OF_NETWORK = {
    "checkpoint": "the weights that it was exported from",
    "name": "what the network is called",
    "model-args": "keyword arguments of the callable that makes the network",
}

Command = Callable[[Sequence[str]], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code. Raises ShiftAddError."""
    options = _parser().parse_args(arguments)
    model: Path = options.model_file
    integer = _FOLDER / f"{model.stem}.int8.onnx"
    _tell(1, f"compare {model.name} with PyTorch, layer by layer")
    against = [options.model, f"--model-file={model}", *_given(options)]
    passed, compared = _summary_of(export.validation.__main__.main, *against)
    _tell(2, f"make it an integer model, by {_PATCHES} patches of scikit-image's photographs")
    _run(calibration.__main__.main, str(model), f"--data={_patches()}", f"--out={integer}")
    _tell(3, "compare the integer model with the float one, layer by layer")
    int8_passed, int8_compared = _summary_of(
        calibration.validation.__main__.main, str(integer), f"--float={model}"
    )
    _tell(4, "classify a photograph with both")
    screen = [
        f"{model} in ONNX Runtime, against PyTorch:",
        *compared,
        f"{integer}, against the float file:",
        *int8_compared,
        f"  ranges  over {_PATCHES} patches of scikit-image's photographs: yours do better",
        "",
        *_classified(model, integer),
        "",
        *_next(options.model),
    ]
    for line in screen:
        show(line)
    return FINE if passed and int8_passed else SOME_FAILED


def _classified(model: Path, integer: Path) -> Iterator[str]:
    (photograph,) = [path for path in sample_photographs() if path.name == _PHOTOGRAPH]
    yield f"{_PHOTOGRAPH}, a photograph of a cat that scikit-image carries:"
    yield from side_by_side(photograph, model, integer)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m device_scripts.host.demo",
        description="Compares an exported model with PyTorch, and its integer model with it, and "
        "classifies a photograph with both.",
    )
    parser.add_argument("model", metavar="MODEL", help="the model's name")
    parser.add_argument(
        "--model-file", type=Path, required=True, metavar="FILE", help="the exported file"
    )
    for name, what in _OF_NETWORK.items():
        parser.add_argument(f"--{name}", metavar="VALUE", help=what)
    return parser


def _given(options: argparse.Namespace) -> list[str]:
    """What the comparison with PyTorch has to know of the network, as far as it was given."""
    values = {name: getattr(options, name.replace("-", "_")) for name in _OF_NETWORK}
    return [f"--{name}={value}" for name, value in values.items() if value is not None]


def _tell(step: int, what: str) -> None:
    """Progress is no result: it goes to stderr."""
    print(f"demo {step}/4: {what}", file=sys.stderr, flush=True)


def _summary_of(command: Command, *arguments: str) -> tuple[bool, list[str]]:
    """Whether a comparison passed, and its few lines, indented."""
    code, text = _run(command, *arguments, "--summary", f"--report-dir={_REPORTS}")
    lines = text.replace("report: ", "all layers  ").splitlines()
    return code == FINE, [f"  {line}" for line in lines]


def _run(command: Command, *arguments: str) -> tuple[int, str]:
    """A command's exit code and what it printed; where it cannot do its work, the demo ends."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = command(arguments)
    if code == BAD_INPUT:
        sys.exit(BAD_INPUT)
    return code, printed.getvalue()


def _patches() -> Path:
    """A folder of images for the calibration: nobody has to bring any."""
    folder = _FOLDER / "patches"
    folder.mkdir(parents=True, exist_ok=True)
    for i, patch in enumerate(sample_patches(_PATCHES)):
        patch.save(folder / f"{i:02}.png")
    return folder


def _next(model: str) -> Iterator[str]:
    chosen = "" if model == "ghostshiftaddnet" else f" MODEL={model}"
    yield f"next:  make infer{chosen} IMAGE=photo.jpg    your own picture"
    yield f"       make calibrate{chosen} DATA=folder    int8 by your own images"
    yield f"       make deploy{chosen} DEVICE=user@nano  to a Jetson Nano"


if __name__ == "__main__":
    leave(main)

"""`python -m device_scripts.host.bench.memory MODEL.onnx ...`: memory of a session and its runs.

The figure is the growth of the process's peak memory between the making of the session and some
runs of one image. Every model has a process of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from runtime.console.commandline import FINE, Parser, leave, show
from runtime.core import library as operator_library
from runtime.core.errors import ModelError, one_line
from runtime.core.places import ROOT

_RUNS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = Parser(
        prog="python -m device_scripts.host.bench.memory",
        description="Prints the memory that a model's session and its runs take, one thread.",
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--here", action="store_true", help="in this process, in KiB alone")
    options = parser.parse_args(arguments)
    for model in options.models:
        show(str(growth(model)) if options.here else f"{_mebibytes(model):6.1f} MiB  {model}")
    return FINE


def _mebibytes(model: Path) -> float:
    """The growth in MiB, measured in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "device_scripts.host.bench.memory",
        "--here",
        str(model.resolve()),
    ]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ModelError(f"{model}: {one_line(answer.stderr)}")
    return int(answer.stdout) / 1024


def growth(model: Path) -> int:
    """The growth of this process's peak in KiB. Raises ModelError for a model that does not run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    found = operator_library.find()
    if found is None:
        raise ModelError("no operator library: build it with `make plugins`")
    options.register_custom_ops_library(found)
    image = np.random.default_rng().normal(size=(1, 3, 224, 224)).astype(np.float32)
    before = _peak()
    try:
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        argument = session.get_inputs()[0]
        _, channels, height, width = argument.shape
        for _ in range(_RUNS):
            session.run(None, {argument.name: image[:, :channels, :height, :width].copy()})
    except Exception as error:
        raise ModelError(f"{model}: {one_line(error)}") from error
    return _peak() - before


def _peak() -> int:
    """The peak in KiB that Linux reports. getrusage would report at least what the parent had when
    it started this process."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise ModelError("no peak of memory in /proc/self/status: measure on Linux")
    return int(found[1])


if __name__ == "__main__":
    leave(main)

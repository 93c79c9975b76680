"""`python -m device_scripts.host.deploy DEVICE BUNDLE`: has a bundle run on a Jetson, by ssh.

Exit codes: 0 fine; 1 the bundle is there, but a script or the check failed; 2 bad usage, or the
board cannot be used. Run again, it goes on where it was cut off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from device_scripts.host.bundle import archive
from device_scripts.host.bundle.archive import Manifest
from device_scripts.host.deploy.board import Board, Facts
from device_scripts.host.deploy.connection import Connection, DeployError, last_line
from device_scripts.host.deploy.device import device_problem
from runtime.console.commandline import (
    BAD_INPUT,
    FINE,
    SOME_FAILED,
    Parser,
    complain,
    leave,
    positive,
    show,
)
from runtime.core.errors import one_line
from runtime.core.places import ROOT

_RUNS = 50
_CHECK, _TIMES = "reports/check.json", "reports/benchmark"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code. Raises ShiftAddError."""
    options = _parser().parse_args(arguments)
    problem = device_problem(options.device)
    if problem is not None:
        raise DeployError(problem)
    manifest = archive.verify(options.bundle)
    reports: Path = options.reports / re.sub(r"[^\w.-]", "_", options.device.rpartition("@")[2])
    reports.mkdir(parents=True, exist_ok=True)
    ssh = [part for option in options.option for part in ("-o", option)]
    if options.port is not None:
        ssh += ["-p", str(options.port)]
    with Connection(options.device, ssh) as connection:
        board = Board(connection, options.folder)
        facts = board.look()
        show(f"board    {one_line(facts.release)}")
        board.lock()
        copied = board.bring(options.bundle, manifest)
        show(f"bundle   {manifest.folder}, {'copied' if copied else 'there already'}")
        return _deploy(board, facts, manifest, reports, options.runs)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m device_scripts.host.deploy",
        description="Copies a bundle to a Jetson by ssh, installs, builds, checks and times it "
        "there, and brings the reports back.",
    )
    parser.add_argument(
        "device", metavar="DEVICE", help="user@host, or a name of ~/.ssh/config"
    )  # fmt: skip
    parser.add_argument(
        "bundle", type=Path, metavar="BUNDLE.tar.gz", help="an archive written by `make bundle`"
    )
    parser.add_argument(
        "--folder", default=".", metavar="DIR",
        help="the folder on the board for the bundle's own (default: the user's home)",
    )  # fmt: skip
    parser.add_argument("--port", type=positive, metavar="N", help="of the board's ssh server")
    parser.add_argument(
        "-o", dest="option", action="append", default=[], metavar="NAME=VALUE",
        help="an option of ssh, as `ssh -o` takes it; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--runs", type=positive, default=_RUNS, metavar="N",
        help="of the network in the benchmark (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--reports", type=Path, default=Path(ROOT) / "build" / "reports" / "deploy", metavar="DIR",
        help="where HOST/ with the logs and reports goes (default: build/reports/deploy)",
    )  # fmt: skip
    return parser


def _deploy(board: Board, facts: Facts, manifest: Manifest, reports: Path, runs: int) -> int:
    """Everything behind the copy. What was measured is brought back even where a step fails."""

    def step(name: str, *command: str) -> bool:
        show(f"{name:8} {' '.join(command)}")
        log = reports / f"{name}.log"
        code = board.run(manifest, log, *command)
        if code != 0:
            said = last_line(log.read_text("utf-8", "backslashreplace")) or "without a word"
            complain(f"{name}: exit code {code}: {said}; all it said is in {log}")
        return code == 0

    if not step("install", "device_scripts/install.sh"):
        return BAD_INPUT
    passed = True
    problem = board.gpu_problem(manifest) if facts.gpu else "no CUDA and TensorRT there"
    if not problem:
        passed = step("plugins", "device_scripts/build_plugins.sh")
        passed = passed and step("engine", "device_scripts/build_engine.sh")
    else:
        show(f"gpu      {problem}: the CPU only")
    board.forget(manifest, _CHECK, _TIMES)
    passed &= step("check", "venv/bin/python", "runtime/check.py", "--report", _CHECK)
    passed &= step("times", "device_scripts/benchmark.sh", "--runs", str(runs), "--out", _TIMES)
    board.fetch_reports(manifest, reports / "reports")
    show(f"reports  {reports}")
    return FINE if passed else SOME_FAILED


if __name__ == "__main__":
    leave(main)

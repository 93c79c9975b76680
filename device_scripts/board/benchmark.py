"""Measures the models of a folder on this board: `python3 device_scripts/board/benchmark.py`.

`device_scripts/benchmark.sh` starts it with the bundle's folders. The models are measured by turns
in one run, so that whatever happens to the board meanwhile, such as growing hot, affects all of
them.

Exit codes: 0 fine; 1 some models could not be run; 2 bad usage, or none could be run.
"""

import contextlib
import glob
import os
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

if not __package__:
    # Run as a script, Python has put this file's folder on the path; the repository's root is
    # needed.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from runtime.console import commandline  # noqa: E402 - after the path above
from runtime.core import files  # noqa: E402 - after the path above
from runtime.core.errors import ModelError  # noqa: E402

_ROUNDS, _QUICK_ROUNDS = 5, 2
_RUNS, _QUICK_RUNS = 200, 20
# The least seconds of a turn where power is sampled, enough for ten samples or, with --quick,
# three.
_TURN, _QUICK_TURN = 2.0, 0.6
_IDLE, _QUICK_IDLE = 3.0, 0.6


class Plan(NamedTuple):
    """How much is measured: the rounds, the runs of each turn, and the seconds of a turn and of
    idling."""

    rounds: int
    runs: int
    turn_seconds: float
    idle_seconds: float


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command; returns its exit code. Raises ShiftAddError for what stops all of it."""
    options = _parser().parse_args(arguments)
    # These imports stand here, where a missing package is reported in one line.
    from device_scripts.board import report, system, throttling
    from device_scripts.board.tegrastats import Sampler

    report.check_folder(options.out)
    date = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    with contextlib.ExitStack() as stack:
        contestants, failed = _load(stack, options.files or _all(options))
        if not contestants:
            raise ModelError(
                "no model that can be run: name some, or copy MODEL.onnx and MODEL.int8.onnx into "
                "{}".format(options.models)
            )
        commandline.show("{} by turns; leave the board alone meanwhile".format(len(contestants)))
        with Sampler() as sampler:
            idle, results = _measure(contestants, sampler, _plan(options, sampler.running))
            trouble = sampler.trouble()
        notes = throttling.of_board() + throttling.unknown(results)
        notes += [trouble] if trouble else []
        entries = [report.entry(result, idle) for result in results]
    document: Dict[str, Any] = {
        "format": report.FORMAT,
        "date": date,
        "board": dict(system.describe(), idle_power_mw=idle, software=_software()),
        "notes": notes,
        "results": [
            dict(row, sha256=files.sha256(row["file"]), times_ms=result.times_ms)
            for row, result in zip(entries, results)
        ],
    }
    _show(document)
    commandline.show("wrote " + " and ".join(report.write(options.out, document)))
    return commandline.SOME_FAILED if failed else commandline.FINE


def _parser() -> commandline.Parser:
    parser = commandline.Parser(
        prog="benchmark", description="Measures the models on this board, all by turns in one run."
    )
    parser.add_argument(
        "files", nargs="*", metavar="MODEL.onnx|MODEL.engine",
        help="what to measure (default: all of both folders)",
    )  # fmt: skip
    parser.add_argument("--models", required=True, metavar="DIR", help="folder of the ONNX models")
    parser.add_argument("--engines", required=True, metavar="DIR", help="folder of the engines")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="where benchmark.json and benchmark.csv go"
    )
    parser.add_argument(
        "--runs", type=commandline.positive, metavar="N",
        help="runs of each model, at least (default: {}, with --quick {})".format(
            _RUNS, _QUICK_RUNS
        ),
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a first look, in seconds")
    return parser


def _plan(options: Any, sampled: bool) -> Plan:
    rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    runs = options.runs or (_QUICK_RUNS if options.quick else _RUNS)
    per_turn = -(-runs // rounds)
    if not sampled:
        return Plan(rounds, per_turn, 0.0, 0.0)
    if options.quick:
        return Plan(rounds, per_turn, _QUICK_TURN, _QUICK_IDLE)
    return Plan(rounds, per_turn, _TURN, _IDLE)


def _all(options: Any) -> List[str]:
    patterns = (
        os.path.join(options.models, "*.onnx"),
        os.path.join(options.engines, "*.engine"),
        os.path.join(options.engines, "*.plan"),
    )
    return [file for pattern in patterns for file in sorted(glob.glob(pattern))]


def _load(stack: Any, paths: Sequence[str]) -> Tuple[List[Any], int]:
    """The contestants, and the number of models that could not be loaded, each of which is reported
    in a line."""
    import runtime
    from device_scripts.board.measure import Contestant
    from runtime.engines.tensorrt.engine_file import is_engine

    every_core = sorted({1, len(os.sched_getaffinity(0))})
    contestants: List[Any] = []
    failed = 0
    for file in paths:
        stem = os.path.splitext(os.path.basename(file))[0]
        for threads in [0] if is_engine(file) else every_core:
            try:
                session = stack.enter_context(runtime.load(file, threads=threads or None))
            except ModelError as error:
                commandline.complain(str(error))
                failed += 1
                break
            name = "{}, {} thread{}".format(stem, threads, "s"[: threads > 1]) if threads else stem
            processor = "CPU" if threads else "GPU"
            images = _image(session)
            contestants.append(Contestant(name, file, processor, threads, session, images))
    return contestants, failed


def _image(session: Any) -> Any:
    """An image of noise, since its content makes no difference to the time."""
    import numpy as np

    shape = (1,) + session.metadata.input_size
    return np.random.RandomState(1).normal(size=shape).astype(np.float32)


def _measure(contestants: List[Any], sampler: Any, plan: Plan) -> Tuple[Optional[float], List[Any]]:
    """The idle power (mW), and a result of each contestant."""
    from device_scripts.board.measure import Result, idle_power, take_turn
    from runtime.console.progress import Progress

    idle = idle_power(sampler, plan.idle_seconds)
    results = [Result(contestant, []) for contestant in contestants]
    with Progress("benchmark", plan.rounds * len(results), "turn") as progress:
        for _ in range(plan.rounds):
            for result in results:
                turn = take_turn(result.contestant, sampler, plan.runs, plan.turn_seconds)
                result.turns.append(turn)
                progress.advance()
    return idle, results


def _software() -> Dict[str, Optional[str]]:
    versions: Dict[str, Optional[str]] = {"python": "{}.{}.{}".format(*sys.version_info[:3])}
    for name in ("numpy", "onnxruntime", "tensorrt"):
        # A package that no model asked for was not imported, and has no version here.
        versions[name] = getattr(sys.modules.get(name), "__version__", None)
    return versions


def _show(document: Dict[str, Any]) -> None:
    from device_scripts.board import report

    board = document["board"]
    facts = [
        board["board"],
        board["l4t"] and "L4T " + board["l4t"],
        board["power_mode"] and "power mode " + board["power_mode"],
        board["cores_online"] and "{} cores".format(board["cores_online"]),
        board["cpu_limit_mhz"] and "CPU up to {:.0f} MHz".format(board["cpu_limit_mhz"]),
        board["gpu_limit_mhz"] and "GPU up to {:.0f} MHz".format(board["gpu_limit_mhz"]),
        board["idle_power_mw"] and "{:.2f} W at rest".format(board["idle_power_mw"] / 1e3),
    ]
    commandline.show(", ".join(fact for fact in facts if fact))
    for line in report.table(document["results"]):
        commandline.show(line)
    for row in document["results"]:
        for told in row["throttling"]:
            commandline.show("slowed: {}: {}".format(row["name"], told))
    for note in document["notes"]:
        commandline.show("note: " + note)


if __name__ == "__main__":
    commandline.leave(main)

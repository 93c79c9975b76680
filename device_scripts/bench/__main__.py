"""Our kernels and ONNX Runtime's own, layer by layer, by turns in one run.

    python -m device_scripts.bench [--named] [--threads 1 4] [--out build/reports/bench]

Prints tables and writes them to the folder, with all of the times as JSON and a bar chart of the
ratios. Layers are those of GhostNet 1.0x, the 224x224 GhostShiftAddNet and ResNet-20, each shape
once, and four that floors are given for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from device_scripts.bench.layers import NAMED, Layer, all_layers
from device_scripts.bench.nodes import OPERATORS
from device_scripts.bench.report import Row, write_report
from device_scripts.bench.timing import ROUNDS, Runner, race
from runtime.commandline import FINE, Parser, leave, positive
from runtime.errors import ModelError
from runtime.library import find


def measure_layer(layer: Layer, library: Path, threads: int, rounds: int) -> Row:
    """One layer in all operators."""
    rng = np.random.default_rng()
    runners = {
        name: Runner(build(layer, rng), library, threads) for name, build in OPERATORS.items()
    }
    return Row(layer, threads, race(runners, rounds))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Raises ModelError where there is no operator library."""
    parser = Parser(prog="python -m device_scripts.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--named", action="store_true", help="only the four with a floor, A to D")
    parser.add_argument(
        "--threads", type=positive, nargs="+", default=[1], metavar="N",
        help="of ONNX Runtime; a row in the tables for each (default: 1)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("build/reports/bench"))
    options = parser.parse_args(argv)
    library = find()
    if library is None:
        raise ModelError("no operator library; build it with `make plugins`")
    layers = list(NAMED.values()) if options.named else all_layers()
    jobs = [(layer, threads) for layer in layers for threads in options.threads]
    rows = [
        measure_layer(layer, Path(library), threads, options.rounds)
        for layer, threads in tqdm(jobs, desc="layers")
    ]
    print(write_report(rows, options.out))
    print(f"report: {options.out}")
    return FINE


if __name__ == "__main__":
    leave(main)

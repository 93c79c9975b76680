"""Our kernels and ONNX Runtime's own, layer by layer and model by model, by turns in one run.

    python -m device_scripts.host.bench [--named] [--threads 1 4] [--isa avx2] [--out FOLDER]
    python -m device_scripts.host.bench MODEL [--input 3x32x32]

Prints tables and writes them to build/reports/bench, with all of the times as JSON and bar charts.
The layers are those of GhostNet 1.0x, of the 224x224 GhostShiftAddNet and of ResNet-20, each shape
once, and four more that have to reach a given speed; or those of MODEL alone. The models are both
GhostShiftAddNets and the
GhostNets of their size.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from device_scripts.host.bench import instruction_sets
from device_scripts.host.bench.layers import NAMED, Layer, all_layers, network_layers
from device_scripts.host.bench.models import PAIRS, Comparison, compare
from device_scripts.host.bench.nodes import OPERATORS
from device_scripts.host.bench.peak import Peak, build_peaks
from device_scripts.host.bench.peers import PEERS, Peers
from device_scripts.host.bench.report import Report, Row, write_report
from device_scripts.host.bench.timing import ROUNDS, Contestant, Runner, race
from export.loading.options import add_model, add_spec, open_model
from runtime.console.commandline import FINE, Parser, leave, positive, thread_count
from runtime.core.errors import ModelError
from runtime.core.library import find


def measure_layer(
    layer: Layer, library: Path, threads: int, rounds: int, peaks: Mapping[str, Peak]
) -> Row:
    """Measures one layer in all operators, and the processor's peaks, which hold for one thread."""
    rng = np.random.default_rng()
    contestants: dict[str, Contestant] = {
        name: Runner(build(layer, rng), library, threads) for name, build in OPERATORS.items()
    }
    times = race({**contestants, **peaks}, rounds)
    return Row(
        layer,
        threads,
        {name: times[name] for name in OPERATORS},
        {name: times[name] for name in peaks},
    )


def measure_layers(
    layers: Sequence[Layer], library: Path, threads: Sequence[int], rounds: int
) -> list[Row]:
    """Measures every layer with each number of threads."""
    peaks = build_peaks()
    jobs = [(layer, count) for layer in layers for count in threads]
    return [
        measure_layer(layer, library, count, rounds, peaks if count == 1 else {})
        for layer, count in tqdm(jobs, desc="layers")
    ]


def measure_models(
    folder: Path, library: Path, threads: Sequence[int], rounds: int, peers: Peers
) -> list[Comparison]:
    """Measures every pair with each number of threads; the other engines run the larger baseline
    only."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(pair, count) for pair in PAIRS for count in threads]
    return [
        compare(*pair, folder, library, count, rounds, peers if pair is PAIRS[0] else Peers(None))
        for pair, count in tqdm(jobs, desc="models")
    ]


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _layers(options: argparse.Namespace) -> list[Layer]:
    """The layers to measure: of the network that was named, else those of the tables."""
    if options.model is not None:
        opened = open_model(options)
        return list(dict.fromkeys(network_layers(opened.network, opened.spec.input_size)))
    return list(NAMED.values()) if options.named else all_layers()


def _parser() -> Parser:
    parser = Parser(prog="python -m device_scripts.host.bench", description=__doc__.splitlines()[0])
    add_model(parser, optional=True)
    add_spec(parser)
    parser.add_argument("--named", action="store_true", help="of the layers only A to D")
    parser.add_argument("--only", choices=("layers", "models"), help="default: both")
    parser.add_argument(
        "--threads", type=thread_count, nargs="+", default=sorted({1, _cores()}), metavar="N",
        help="of each engine; a row in the tables for each (default: one, and one a core)",
    )  # fmt: skip
    parser.add_argument(
        "--isa", choices=instruction_sets.ISAS, default=instruction_sets.current(),
        help="avx2: hide AVX-512 from all engines, as on a processor without (default: native)",
    )  # fmt: skip
    parser.add_argument(
        "--peers", type=Path, metavar="PYTHON",
        help="interpreter with requirements-peers.txt: adds " + ", ".join(PEERS),
    )  # fmt: skip
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("build/reports/bench"))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Raises ModelError where there is no operator library."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = _parser().parse_args(arguments)
    if options.isa != instruction_sets.current():
        return instruction_sets.run_without_avx512(arguments)
    found = find()
    if found is None:
        raise ModelError("no operator library; build it with `make plugins`")
    library = Path(found)
    layers = _layers(options)
    rows, comparisons = [], []
    if options.only != "models":
        rows = measure_layers(layers, library, options.threads, options.rounds)
    if options.only != "layers" and options.model is None:
        peers = Peers(options.peers)
        models = options.out / "models"
        comparisons = measure_models(models, library, options.threads, options.rounds, peers)
    print(write_report(Report(rows, comparisons, options.isa), options.out))
    print(f"report: {options.out}")
    return FINE


if __name__ == "__main__":
    leave(main)

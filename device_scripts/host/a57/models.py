"""Whole networks on an emulated Cortex-A57: instructions and cycles, ours beside other engines'.

    python -m device_scripts.host.a57.models --library FILE [--peers PYTHON] [--only NAME ...]

QEMU runs each network on one thread as the board's processor would, and counts what it runs
(blocks.py); llvm-mca's model of the processor weighs it (cycles.py). No clock is involved: the
numbers are the same on every machine. Prints a table, and writes it with a chart and models.json
to build/reports/bench-a57.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import onnx
from tqdm import tqdm

from device_scripts.host.a57 import blocks, cycles, functions, system
from device_scripts.host.a57.report import Row, tables, write_report
from device_scripts.host.bench.models import PAIRS, export_to, quantize_to
from device_scripts.host.bench.peer_child import quantize_onnx
from device_scripts.host.bench.peers import convert
from export.models import find_model
from export.onnx_export.writer import write_model
from runtime.console.commandline import FINE, Parser, leave
from runtime.core.errors import ShiftAddError
from runtime.core.places import ROOT

ONNXRUNTIME = system.WHEELS
_PEERS = Path(ROOT) / "requirements-peers.txt"


def litert() -> tuple[str, ...]:
    """LiteRT in the version that `make bench PEERS=1` measures, with the emulated NumPy."""
    pins = re.findall(r"^ai-edge-litert==\S+", _PEERS.read_text(), re.MULTILINE)
    return (*pins, *(name for name in ONNXRUNTIME if name.startswith("numpy==")))


@dataclass(frozen=True)
class Contestant:
    """A network in an engine: `file` is what the engine reads; the rest is as in Row."""

    model: str
    engine: str
    precision: str
    file: Path
    ours: bool


def ours(folder: Path, model: str) -> list[Contestant]:
    """A network of ours, in ONNX Runtime with the operator library."""
    exported = export_to(folder, model)
    quantized = quantize_to(folder, exported)
    return [
        Contestant(model, "onnxruntime", "float32", exported, True),
        Contestant(model, "onnxruntime", "int8", quantized, True),
    ]


def baseline(folder: Path, model: str, peers: Path | None) -> list[Contestant]:
    """The multiplying network in ONNX Runtime and, with the peers' interpreter, in LiteRT."""
    exported = export_to(folder, model)
    stem = exported.with_suffix("")
    found = [Contestant(model, "onnxruntime", "float32", exported, False)]
    if peers is not None:
        convert(peers, model, exported, folder)
        for precision, name in (("float32", "tflite"), ("int8", "int8.tflite")):
            file = Path(f"{stem}.{name}")
            found.append(Contestant(model, "litert", precision, file, False))
    else:
        quantize_onnx(exported, stem, (1, *find_model(model).input_size))
    quantized = Path(f"{stem}.int8.onnx")
    _forget_unused_domains(quantized)
    return [*found, Contestant(model, "onnxruntime", "int8", quantized, False)]


def _forget_unused_domains(path: Path) -> None:
    """ONNX Runtime's quantizer lists domains of which the graph has no operator, in versions that
    the emulated ONNX Runtime does not know."""
    model = onnx.load(path)
    used = {node.domain for node in model.graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    write_model(model, path)


def measure(contestant: Contestant, library: Path) -> Row:
    """Runs and weighs one of them. Raises ShiftAddError."""
    packages = litert() if contestant.engine == "litert" else ONNXRUNTIME
    with tempfile.TemporaryDirectory() as folder:
        counted = blocks.count(
            contestant.file, library if contestant.ours else None, Path(folder), packages
        )
    weighed = cycles.weigh(counted)
    return Row(
        contestant.model,
        contestant.engine,
        contestant.precision,
        find_model(contestant.model).input_size,
        sum(block.instructions for block in counted),
        round(cycles.total(counted, weighed)),
        functions.shares(weighed, library.name, functions.Symbols(library))
        if contestant.ours
        else [],
    )


def measure_all(contestants: Sequence[Contestant], library: Path) -> list[Row]:
    """All of them, as many at a time as there are processors; no clock is involved."""
    for packages in sorted({ONNXRUNTIME, *(litert() for c in contestants if c.engine == "litert")}):
        system.python(packages=packages)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows = pool.map(lambda contestant: measure(contestant, library), contestants)
        bar = tqdm(rows, "networks", len(contestants), disable=not sys.stderr.isatty())
        return list(bar)


def _contestants(options: argparse.Namespace, folder: Path) -> list[Contestant]:
    names = options.only or [name for pair in PAIRS for name in pair]
    found = []
    for own, peer in tqdm(PAIRS, desc="networks are written", disable=not sys.stderr.isatty()):
        found += ours(folder, own) if own in names else []
        found += baseline(folder, peer, options.peers) if peer in names else []
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Raises ShiftAddError."""
    parser = Parser(prog="python -m device_scripts.host.a57.models", description=__doc__)
    parser.add_argument(
        "--library", type=Path, required=True,
        help="the operator library for the Jetson Nano, with its symbols",
    )  # fmt: skip
    parser.add_argument(
        "--peers", type=Path, metavar="PYTHON",
        help="interpreter with requirements-peers.txt, which adds LiteRT",
    )  # fmt: skip
    known = [name for pair in PAIRS for name in pair]
    parser.add_argument("--only", nargs="+", choices=known, help="networks (default: all)")
    parser.add_argument("--out", type=Path, default=Path("build/reports/bench-a57"))
    options = parser.parse_args(argv)
    missing = system.why_not()
    if missing is not None:
        raise ShiftAddError(missing)
    folder = options.out / "networks"
    folder.mkdir(parents=True, exist_ok=True)
    rows = measure_all(_contestants(options, folder), options.library)
    print(tables(rows))
    write_report(rows, options.out)
    print(f"\nreport      {options.out}/models.md, models.json, models.png")
    return FINE


if __name__ == "__main__":
    leave(main)

"""Races whole models against each other.

Our model runs in ONNX Runtime with the operator library, in float32 and with 8-bit integers; the
multiplying baseline runs in ONNX Runtime and, where they are asked for, in other engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from calibration.quantization import Range
from calibration.quantize import quantize_model
from calibration.table import Table
from device_scripts.host.bench.peers import Peers
from device_scripts.host.bench.timing import Contestant, Runner, Times, race
from export.checkpoint import load_model
from export.models import find_model
from export.onnx_export.model import export_model
from export.onnx_export.writer import write_model

PAIRS = (("ghostshiftaddnet_imagenet", "ghostnet"), ("ghostshiftaddnet", "ghostnet_cifar10"))
"""Pairs of our model and the baseline for images of the same size."""
ORT = "ONNX Runtime fp32"
INTEGER = "integer"


@dataclass(frozen=True)
class Comparison:
    """Times of a model of ours and of its baseline, by engine.

    Attributes:
        ours: in ONNX Runtime with the operator library, in float32.
        integer: the same model quantized.
        baseline: its times by engine; ORT is always among them.
    """

    model: str
    baseline_model: str
    threads: int
    ours: Times
    integer: Times
    baseline: Mapping[str, Times]


def export_to(folder: Path, name: str) -> Path:
    """Exports the model afresh and returns its file; a model without shipped weights gets those of
    a fixed seed."""
    network, sha256 = load_model(name)
    path = folder / f"{name}.onnx"
    write_model(export_model(network, find_model(name), "jetson-nano", sha256), path)
    return path


def quantize_to(folder: Path, path: Path) -> Path:
    """Writes the integer model and returns its file. Its ranges are made up, since they do not
    change its time."""
    model = onnx.load(path)
    names = [value.name for value in model.graph.input]
    names += [name for node in model.graph.node for name in node.output]
    table = Table(path.stem, "", "none", 0, "", dict.fromkeys(names, Range(-8.0, 8.0)))
    quantized = folder / f"{path.stem}.int8.onnx"
    write_model(quantize_model(model, table), quantized)
    return quantized


def compare(
    ours: str, baseline: str, folder: Path, library: Path, threads: int, rounds: int, peers: Peers
) -> Comparison:
    """Both models, and the baseline's peers, by turns in one run."""
    files = {name: export_to(folder, name) for name in (ours, baseline)}
    contestants: dict[str, Contestant] = {
        ours: Runner(files[ours], library, threads),
        INTEGER: Runner(quantize_to(folder, files[ours]), library, threads),
        ORT: Runner(files[baseline], library, threads),
    }
    with peers.started(baseline, files[baseline], folder, threads) as started:
        times = race({**contestants, **started}, rounds)
    return Comparison(ours, baseline, threads, times.pop(ours), times.pop(INTEGER), times)

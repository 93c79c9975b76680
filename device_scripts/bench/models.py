"""Whole models, raced against each other: ours in ONNX Runtime with the operator library, and the
multiplying baseline in ONNX Runtime and, where they are asked for, in other engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device_scripts.bench.peers import Peers
from device_scripts.bench.timing import Contestant, Runner, Times, race
from export.checkpoint import load_model
from export.models import find_model
from export.onnx_export.model import export_model
from export.onnx_export.writer import write_model

PAIRS = (("ghostshiftaddnet_imagenet", "ghostnet"), ("ghostshiftaddnet", "ghostnet_cifar10"))
"""A model of ours, and the baseline for images of the same size."""
ORT = "ONNX Runtime fp32"


@dataclass(frozen=True)
class Comparison:
    """Times of a model of ours and of its baseline, by engine.

    Attributes:
        ours: in ONNX Runtime with the operator library.
        baseline: by engine; ORT is always among them.
    """

    model: str
    baseline_model: str
    threads: int
    ours: Times
    baseline: Mapping[str, Times]


def export_to(folder: Path, name: str) -> Path:
    """The model's file, freshly exported; without shipped weights, with those of a fixed seed."""
    network, sha256 = load_model(name)
    path = folder / f"{name}.onnx"
    write_model(export_model(network, find_model(name), "jetson-nano", sha256), path)
    return path


def compare(
    ours: str, baseline: str, folder: Path, library: Path, threads: int, rounds: int, peers: Peers
) -> Comparison:
    """Both models, and the baseline's peers, by turns in one run."""
    files = {name: export_to(folder, name) for name in (ours, baseline)}
    contestants: dict[str, Contestant] = {
        ours: Runner(files[ours], library, threads),
        ORT: Runner(files[baseline], library, threads),
    }
    with peers.started(baseline, files[baseline], folder, threads) as started:
        times = race({**contestants, **started}, rounds)
    return Comparison(ours, baseline, threads, times.pop(ours), times)

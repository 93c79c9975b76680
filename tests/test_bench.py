"""`make bench`: what is measured, and what is made of the times."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from device_scripts.bench.__main__ import measure_layer
from device_scripts.bench.layers import NAMED, Layer, all_layers, resnet20
from device_scripts.bench.nodes import OPERATORS
from device_scripts.bench.report import COMPARISONS, Row, write_report
from device_scripts.bench.timing import Times


def test_terms_are_counted() -> None:
    assert NAMED["A"].terms == 64 * 64 * 32 * 32
    assert NAMED["C"].terms == 128 * 256 * 9 * 14 * 14
    assert NAMED["D"].terms == 120 * 9 * 28 * 28
    assert Layer(8, 16, 15, 15, 3, stride=2).terms == 8 * 16 * 9 * 8 * 8


def test_the_networks_layers_are_there_once() -> None:
    layers = all_layers()
    assert len(layers) == len(set(layers))
    assert set(resnet20()) <= set(layers)
    # GhostNet's stem, and a depthwise 5x5 of its third stage.
    assert Layer(3, 16, 224, 224, 3, stride=2) in layers
    assert Layer(72, 72, 56, 56, 5, stride=2, group=72) in layers
    assert Layer(960, 1280, 1, 1, 1) in layers


def test_a_ratio_is_the_median_of_the_turns() -> None:
    ours = Times(np.array([1.0, 2.0, 4.0]))
    peer = Times(np.array([3.0, 4.0, 8.0]))
    assert ours.ratio(peer) == 2.0
    assert ours.median == 2.0
    assert ours.spread == pytest.approx((3.0 - 1.5) / 2 / 2.0)


def test_a_layer_is_measured_in_every_operator(operator_library: Path, tmp_path: Path) -> None:
    layers = [Layer(5, 9, 7, 6, 3, stride=2), Layer(6, 6, 7, 7, 3, group=6)]
    rows = [measure_layer(layer, operator_library, 1, rounds=2) for layer in layers]
    for row in rows:
        assert list(row.times) == list(OPERATORS)
        assert all((t.seconds > 0).all() for t in row.times.values())
        assert len(row.ratios) == len(COMPARISONS)
    text = write_report(rows, tmp_path)
    assert "5->9 3x3 7x6 /2" in text
    assert "6->6 3x3 7x7 g6" in text
    document = json.loads((tmp_path / "bench.json").read_text())
    assert (
        document["layers"][1]["seconds"]["ShiftConv"] == rows[1].times["ShiftConv"].seconds.tolist()
    )
    assert (tmp_path / "bench.png").stat().st_size > 1000


def test_the_table_has_the_named_layers_letters() -> None:
    times = {name: Times(np.array([0.001, 0.001])) for name in OPERATORS}
    assert Row(NAMED["B"], 1, times).label.startswith("B: 64->64 3x3")

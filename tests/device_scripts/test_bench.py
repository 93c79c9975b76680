"""`make bench`: what is measured, and what is made of the times."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device_scripts.host.bench import instruction_sets, memory
from device_scripts.host.bench.__main__ import measure_layer
from device_scripts.host.bench.compiler import compile_shared
from device_scripts.host.bench.layers import NAMED, Layer, all_layers, resnet20
from device_scripts.host.bench.models import ORT, PAIRS, compare
from device_scripts.host.bench.nodes import OPERATORS
from device_scripts.host.bench.peak import PEAKS, build_peaks
from device_scripts.host.bench.peer_child import engines, quantize_onnx
from device_scripts.host.bench.peers import PEERS, Peer, Peers
from device_scripts.host.bench.report import COMPARISONS, Report, Row, write_report
from device_scripts.host.bench.timing import Times
from runtime.core.errors import ShiftAddError


def test_terms_are_counted() -> None:
    assert NAMED["A"].terms == 64 * 64 * 32 * 32
    assert NAMED["C"].terms == 128 * 256 * 9 * 14 * 14
    assert NAMED["D"].terms == 120 * 9 * 28 * 28
    assert Layer(8, 16, 15, 15, 3, stride=2).terms == 8 * 16 * 9 * 8 * 8


def test_the_networks_layers_are_there_once() -> None:
    layers = all_layers()
    assert len(layers) == len(set(layers))
    assert set(resnet20()) <= set(layers)
    assert {(layer.group > 1, layer.group == layer.channels) for layer in layers} == {
        (False, False),
        (True, False),
        (True, True),
    }
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
    peaks = build_peaks()
    rows = [measure_layer(layer, operator_library, 1, 2, peaks) for layer in layers]
    for row in rows:
        assert list(row.times) == list(OPERATORS)
        assert all((t.seconds > 0).all() for t in row.times.values())
        assert len(row.ratios) == len(COMPARISONS)
        assert set(row.peaks) == set(PEAKS.values())
    text = write_report(Report(rows, [], "native"), tmp_path)
    assert "5->9 3x3 7x6 /2" in text
    assert "6->6 3x3 7x7 g6" in text
    document = json.loads((tmp_path / "bench.json").read_text())
    assert (
        document["layers"][1]["seconds"]["ShiftConv"] == rows[1].times["ShiftConv"].seconds.tolist()
    )
    assert (tmp_path / "bench.png").stat().st_size > 1000


def test_every_peer_can_be_started(tmp_path: Path) -> None:
    assert set(engines(tmp_path / "model", 1, (1, 3, 32, 32))) == set(PEERS.values())


def test_the_table_has_the_named_layers_letters() -> None:
    times = {name: Times(np.array([0.001, 0.001])) for name in OPERATORS}
    assert Row(NAMED["B"], 1, times).label.startswith("B: 64->64 3x3")


def test_models_are_compared_in_one_run(operator_library: Path, tmp_path: Path) -> None:
    ours, baseline = PAIRS[1]
    comparison = compare(ours, baseline, tmp_path, operator_library, 1, 2, Peers(None))
    assert list(comparison.baseline) == [ORT]
    text = write_report(Report([], [comparison], "avx2"), tmp_path)
    assert f"| {baseline} | {ORT} | 1 |" in text
    assert "hidden" in text
    document = json.loads((tmp_path / "bench.json").read_text())
    assert document["models"][0]["seconds"]["ours"] == comparison.ours.seconds.tolist()
    assert (tmp_path / "models.png").stat().st_size > 1000
    assert not (tmp_path / "bench.png").exists()


def test_a_peer_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    stem = tmp_path / "layer"
    model = stem.with_suffix(".onnx")
    model.write_bytes(OPERATORS["Conv"](Layer(4, 8, 9, 9, 3), np.random.default_rng()))
    quantize_onnx(model, stem, (1, 4, 9, 9))
    peer = Peer(Path(sys.executable), "onnxruntime-int8", tmp_path, "layer", 1)
    assert 0 < peer.seconds() < 10
    peer.stop()
    with pytest.raises(ShiftAddError, match=r"onnxruntime-int8: the engine's process has ended"):
        peer.seconds()


def test_peers_that_are_not_installed_are_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ShiftAddError, match=r"cannot convert layer for the peers: .*convert.log"),
        Peers(Path(sys.executable)).started("layer", tmp_path / "none.onnx", tmp_path, 1),
    ):
        pass


def test_avx512_can_be_hidden_from_every_engine(operator_library: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    command = [sys.executable, "-m", "device_scripts.host.bench", "--isa", "avx2", "--named"]
    command += ["--only", "layers", "--threads", "1", "--rounds", "1", "--out", str(out)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if answer.returncode != 0:  # not every processor can; it is said in one line
        assert answer.stderr.strip() in (
            "bench: this machine cannot hide its instruction sets",
            f"error: --isa avx2 is for x86-64; this machine is {platform.machine()}",
        )
        return
    assert "AVX-512 and VNNI hidden" in (out / "bench.md").read_text()


def test_a_process_without_avx512_finds_none(tmp_path: Path) -> None:
    library = tmp_path / "hide.so"
    source = Path(instruction_sets.__file__).with_name("hide_avx512.c")
    compile_shared(source, library, ["-x", "c", "-std=c11", "-O1"])
    program = tmp_path / "features"
    code = tmp_path / "features.c"
    code.write_text(
        "#include <stdio.h>\nint main(void) { __builtin_cpu_init();"
        'printf("%d", __builtin_cpu_supports("avx512f") || __builtin_cpu_supports("avx512vnni")); }'
    )
    subprocess.run(["cc", str(code), "-o", str(program)], check=True, timeout=60)
    answer = subprocess.run(
        [str(program)],
        env={"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stdout) in ((0, "0"), (2, ""))


def test_memory_is_that_of_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A layer whose output is 64 MiB takes them, and one of a few bytes does not."""
    sizes = {}
    for channels in (16, 16 * 64):
        path = tmp_path / f"{channels}.onnx"
        layer = Layer(3, channels, 128, 128, 1)
        path.write_bytes(OPERATORS["Conv"](layer, np.random.default_rng()))
        assert memory.main([str(path)]) == 0
        sizes[channels] = float(capsys.readouterr().out.split()[0])
    assert 60 < sizes[1024] - sizes[16] < 200

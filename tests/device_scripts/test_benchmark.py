"""device_scripts/benchmark.sh on a stand-in for a Jetson Nano, and what it makes of its samples."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_scripts.board import benchmark, measure, system, throttling
from device_scripts.board.measure import Contestant, Result, Turn
from device_scripts.board.tegrastats import Sample, Sampler, parse
from runtime.core.errors import ModelError
from tests.support.board import standin
from tests.support.board.standin import MODEL, StandIn
from tests.support.commands import assert_refused, interpreter
from tests.support.engines import variables as tensorrt_variables
from tests.support.standins.modules import OLD

COMMANDS = Path(standin.__file__).with_name("bin")

# What the boards print, by the boards' own names of their sensors.
NANO = (
    "RAM 1655/3956MB (lfb 311x4MB) SWAP 0/1978MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU "
    "[12%@102,100%@1479,off,12%@1224] EMC_FREQ 3%@1600 GR3D_FREQ 16%@921 APE 25 PLL@36.5C CPU@39C "
    "iwlwifi@94C PMIC@100C GPU@37C AO@47.5C thermal@38C POM_5V_IN 4122/3107 POM_5V_GPU 78/78 "
    "POM_5V_CPU 275/275"
)
NANO_2GB = (
    "RAM 926/1979MB (lfb 2x4MB) SWAP 0/990MB (cached 0MB) CPU [5%@204,1%@204,2%@204,0%@204] "
    "EMC_FREQ 0% GR3D_FREQ 0% PLL@29C CPU@31.5C PMIC@50C GPU@30C AO@36C thermal@30.75C"
)
TX2 = (
    "RAM 2020/7852MB (lfb 1164x4MB) CPU [9%@345,off,off,3%@2035,1%@345,1%@345] EMC_FREQ 0% "
    "GR3D_FREQ 0% PLL@42.5C MCPU@42.5C PMIC@100C Tboard@40C GPU@41C BCPU@42.5C thermal@41.9C "
    "Tdiode@41.25C VDD_SYS_GPU 153/158 VDD_SYS_SOC 536/547 VDD_4V0_WIFI 633/527 VDD_IN 3140/3208 "
    "VDD_SYS_CPU 536/590 VDD_SYS_DDR 557/601"
)
XAVIER_NX = (
    "RAM 1746/7771MB (lfb 1053x4MB) SWAP 0/3886MB (cached 0MB) CPU [4%@1190,2%@1190,off,off] "
    "EMC_FREQ 0%@1600 GR3D_FREQ 0%@114 APE 150 MTS fg 0% bg 0% AO@34.5C GPU@35C PMIC@50C AUX@34.5C "
    "CPU@36C thermal@35.2C VDD_IN 2899/2911 VDD_CPU_GPU_CV 366/366 VDD_SOC 773/777"
)
AGX_XAVIER = (
    "RAM 3002/31918MB (lfb 6500x4MB) SWAP 0/15959MB (cached 0MB) CPU [2%@1190,1%@1190] EMC_FREQ "
    "0%@2133 GR3D_FREQ 0%@318 APE 150 AO@35.5C GPU@36C Tdiode@39.25C PMIC@100C AUX@35.5C CPU@36.5C "
    "thermal@35.9C Tboard@37C GPU 311/300 CPU 622/600 SOC 932/930 CV 0/0 VDDRQ 155/150 "
    "SYS5V 1560/1500"
)
AGX_ORIN = (
    "07-01-2023 11:22:33 RAM 8000/30592MB (lfb 4x4MB) SWAP 0/15296MB (cached 0MB) CPU [100%@2201,"
    "1%@729] EMC_FREQ 1%@2133 GR3D_FREQ 14%@[407,407] VIC_FREQ 115 NVDLA0_FREQ @1600 APE 174 "
    "CV0@-256C CPU@77.281C Tboard@62C SOC2@70C tj@77.281C VDD_GPU_SOC 3150mW/2971mW VDD_CPU_CV "
    "14312mW/12415mW VIN_SYS_5V0 4968mW/5048mW VDDQ_VDD2_1V8AO 1091mW/1091mW"
)


@pytest.mark.parametrize(
    ("line", "power", "cpu", "gpu", "hottest"),
    [
        (NANO, 4122, 1479, 921, ("AO", 47.5)),
        (NANO_2GB, None, 204, None, ("AO", 36.0)),
        (TX2, 3140, 2035, None, ("PLL", 42.5)),
        (XAVIER_NX, 2899, 1190, 114, ("CPU", 36.0)),
        (AGX_XAVIER, 311 + 622 + 932 + 155 + 1560, 1190, 318, ("Tdiode", 39.25)),
        (AGX_ORIN, 3150 + 14312 + 4968, 2201, 407, ("CPU", 77.281)),
        ("", None, None, None, None),
        ("RAM 1655/3956MB CPU [off,off] POM_5V_IN x", None, None, None, None),
    ],
    ids=["Nano", "Nano 2 GB", "TX2", "Xavier NX", "AGX Xavier", "AGX Orin", "empty", "cut off"],
)
def test_a_line_of_tegrastats(
    line: str,
    power: float | None,
    cpu: float | None,
    gpu: float | None,
    hottest: tuple[str, float] | None,
) -> None:
    sample = parse(line, 3.5)
    assert (sample.seconds, sample.power_mw, sample.cpu_mhz, sample.gpu_mhz) == (
        3.5,
        power,
        cpu,
        gpu,
    )
    found = sample.temperatures
    assert (max(found.items(), key=lambda item: item[1]) if found else None) == hottest


# --- energy -----------------------------------------------------------------------------------


def _sample(seconds: float, power: float | None, **clocks: float) -> Sample:
    return Sample(seconds, power, clocks.get("cpu"), clocks.get("gpu"), {})


def _turn(times: list[float], samples: list[Sample], **more: Any) -> Turn:
    seconds = sum(times) / 1e3
    return Turn(times, seconds, samples, more.get("throttles", []), more.get("zones", []))


def _contestant(processor: str = "CPU", session: Any = None) -> Contestant:
    return Contestant("m", "m.onnx", processor, 1, session, None)


def test_energy_is_power_times_time() -> None:
    """A turn counts as long as it lasted, however many samples fell into it; those without a power
    do not count."""
    turns = [
        _turn([100.0, 300.0], [_sample(0.1, 2000.0), _sample(0.2, 4000.0), _sample(0.3, None)]),
        _turn([1200.0], [_sample(1.0, 6000.0)]),
        _turn([400.0], []),
    ]
    result = Result(_contestant(), turns)
    # 3 W for 0.4 s and 6 W for 1.2 s; the third turn had no sample and is taken for as the others.
    assert result.power_mw == pytest.approx((3000 * 0.4 + 6000 * 1.2) / 1.6)
    assert result.energy_per_image_j == pytest.approx(5.25 * 2.0 / 4)


def test_without_samples_there_is_no_energy() -> None:
    result = Result(_contestant(), [_turn([10.0, 20.0], [_sample(0.0, None)])])
    assert result.power_mw is None
    assert result.energy_per_image_j is None


def test_the_sampler_sees_what_tegrastats_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{COMMANDS}:{os.environ['PATH']}")
    monkeypatch.setenv("STANDIN_POWER_MW", "4321")
    with Sampler() as sampler:
        start = time.perf_counter()
        while len(sampler.between(start, float("inf"))) < 3:
            time.sleep(0.01)
        end = time.perf_counter()
        assert sampler.trouble() is None
    samples = sampler.between(start, end)
    assert {sample.power_mw for sample in samples} == {4321.0}
    assert all(start <= sample.seconds <= end for sample in samples)
    assert not sampler.running


def test_lines_are_not_kept_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that writes to a pipe by blocks of some KiB, as most do."""
    program = tmp_path / "tegrastats"
    program.write_text(
        f"#!{sys.executable}\nimport os, time\nprint({NANO!r})\ntime.sleep(20)\nos._exit(0)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with Sampler() as sampler:
        while not sampler.between(0.0, float("inf")):
            assert sampler.running
            time.sleep(0.01)
    assert [sample.power_mw for sample in sampler.between(0.0, float("inf"))] == [4122]


# --- turns ------------------------------------------------------------------------------------


def test_all_take_turns() -> None:
    ran: list[str] = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, images: None) -> None:
            ran.append(self.name)

    contestants = [_contestant(session=Recorder(name)) for name in "abc"]
    plan = benchmark.Plan(rounds=3, runs=4, turn_seconds=0.0, idle_seconds=0.0)
    _, results = benchmark._measure(contestants, Sampler(), plan)
    turns = [name for i, name in enumerate(ran) if i == 0 or ran[i - 1] != name]
    assert "".join(turns) == "abcabcabc"
    assert [result.runs for result in results] == [12, 12, 12]
    assert ran.count("a") == 3 * (4 + measure._WARM_UP_RUNS)


def test_a_turn_lasts_long_enough_to_be_sampled() -> None:
    class Quick:
        def run(self, images: None) -> None:
            time.sleep(0.001)

    turn = measure.take_turn(_contestant(session=Quick()), Sampler(), 2, 0.2)
    assert turn.seconds >= 0.2
    assert len(turn.times_ms) > 2
    assert sum(turn.times_ms) == pytest.approx(1e3 * turn.seconds)


# --- throttling -------------------------------------------------------------------------------


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A board whose files and commands this process sees."""
    board = StandIn(tmp_path)
    monkeypatch.setattr(system, "_PREFIX", str(board.system))
    monkeypatch.setenv("PATH", f"{COMMANDS}:{os.environ['PATH']}")
    monkeypatch.delenv("STANDIN_POWER_MODE", raising=False)
    return board


def _told(processor: str = "CPU", **clocks: float) -> list[str]:
    turns = [
        _turn(
            [1.0, 1.0], [_sample(0.0, None, **clocks)],
            zones=system.thermal_zones(), throttles=system.active_throttles(),
        )
    ] * 2  # fmt: skip
    return throttling.of_result(Result(_contestant(processor), turns))


def test_a_cool_board_is_not_throttled(facts: StandIn) -> None:
    assert _told(cpu=1479.0) == []
    assert _told("GPU", gpu=921.0, cpu=102.0) == []
    assert throttling.of_board() == []
    described = system.describe()
    assert described == {
        "board": "NVIDIA Jetson Nano Developer Kit", "l4t": "32.7.1", "power_mode": "MAXN",
        "power_mode_number": 0, "cores_online": 4, "cpu_limit_mhz": 1479.0, "cpu_top_mhz": 1479.0,
        "gpu_limit_mhz": 921.6,
    }  # fmt: skip


def test_heat_is_told(facts: StandIn) -> None:
    facts.zone(1, "CPU-therm", 93.9)
    assert _told() == []
    facts.zone(1, "CPU-therm", 95.5)
    assert _told() == ["CPU-therm was at 95.5 C, its limit is 97.0 C"]


def test_the_kernels_throttling_is_told(facts: StandIn) -> None:
    facts.cooling(1, "cpu-balanced", 3)
    assert _told() == ["the kernel throttled it (cpu-balanced)"]


def test_lowered_clocks_are_told(facts: StandIn) -> None:
    assert _told(cpu=1224.0) == ["the CPU ran at 1224 of 1479 MHz"]
    assert _told("GPU", cpu=102.0, gpu=614.0) == ["the GPU ran at 614 of 922 MHz"]


def test_a_clock_that_is_not_seen_is_told() -> None:
    """Without root tegrastats may show "GR3D_FREQ 0%" alone."""

    def of(processor: str, *samples: Sample) -> Result:
        return Result(_contestant(processor), [_turn([1.0], list(samples))])

    bare = parse("CPU [12%@1479,off] GR3D_FREQ 0% APE 25 POM_5V_IN 2532/2532", 0.0)
    assert (bare.cpu_mhz, bare.gpu_mhz) == (1479.0, None)
    (told,) = throttling.unknown([of("GPU", bare), of("CPU", bare), of("GPU", bare)])
    assert told.startswith("the GPU's clock is not known, nor whether it was lowered")
    assert throttling.unknown([of("GPU", bare), of("GPU", _sample(0.0, None, gpu=921.0))]) == []
    assert throttling.unknown([of("CPU", bare), of("GPU")]) == []
    (told,) = throttling.unknown([of("CPU", parse("CPU [12%,off]", 0.0))])
    assert told.startswith("the CPU's clock")


def test_growing_slower_is_told(facts: StandIn) -> None:
    turns = [_turn([10.0] * 3, []), _turn([13.0] * 3, []), _turn([12.5] * 3, [])]
    assert throttling.of_result(Result(_contestant(), turns)) == ["it was 25 % slower at the end"]


def test_a_slow_power_mode_is_told(facts: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_POWER_MODE", "5W")
    facts.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "918000\n")
    facts.write("sys/devices/system/cpu/online", "0-1\n")
    assert throttling.of_board() == [
        "power mode 5W, which is not the fastest: sudo nvpmodel -m 0",
        "the CPU's clock is held at 918 of 1479 MHz",
    ]
    assert system.online_cores() == 2


def test_an_unknown_machine_has_no_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_PREFIX", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {value for value in system.describe().values() if value} == set()
    assert throttling.of_board() == []
    assert _told(cpu=100.0) == []


# --- the script -------------------------------------------------------------------------------


@pytest.fixture
def board(tmp_path: Path, bundle_models: Path, operator_library: Path) -> StandIn:
    """A board with a bundle and the Nano's Python and packages."""
    board = StandIn(tmp_path)
    board.unpack(bundle_models, operator_library)
    _give_python(board, interpreter("Python 3.6"))
    return board


def _give_python(board: StandIn, python: Path) -> None:
    file = board.root / "venv" / "bin" / "python"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    file.chmod(0o755)


def _report(board: StandIn, folder: str = "reports") -> dict[str, Any]:
    document: dict[str, Any] = json.loads((board.root / folder / "benchmark.json").read_text())
    return document


def test_the_shipped_models_are_measured(board: StandIn) -> None:
    result = board.run("benchmark.sh", "--quick", STANDIN_POWER_MW="5000")
    assert (result.returncode, result.stderr) == (0, "")
    document = _report(board)
    cores = len(os.sched_getaffinity(0))
    threads = sorted({1, cores})
    rows = document["results"]
    assert [(row["file"].rpartition("/")[2], row["threads"]) for row in rows] == [
        (f"{MODEL}{suffix}", count) for suffix in (".int8.onnx", ".onnx") for count in threads
    ]
    for row in rows:
        times = np.array(row["times_ms"])
        assert row["runs"] == len(times) >= 20
        wanted = np.percentile(times, [50, 90, 99])
        assert [row["median_ms"], row["p90_ms"], row["p99_ms"]] == pytest.approx(wanted)
        assert row["images_per_second"] == pytest.approx(1e3 / times.mean())
        # 5 W all the time, at rest too.
        assert row["power_mw"] == 5000
        assert row["energy_per_image_j"] == pytest.approx(5.0 * times.mean() / 1e3)
        assert row["energy_above_idle_j"] == 0
        assert row["clock_mhz"] == 1479
        assert row["hottest_c"] == 40
        assert row["processor"] == "CPU"
    facts = document["board"]
    assert (facts["board"], facts["l4t"]) == ("NVIDIA Jetson Nano Developer Kit", "32.7.1")
    assert (facts["power_mode"], facts["idle_power_mw"]) == ("MAXN", 5000)
    assert facts["software"].pop("python").startswith("3.6.")
    assert facts["software"] == {"numpy": "1.19.5", "onnxruntime": "1.10.0", "tensorrt": None}
    assert document["notes"] == []
    with (board.root / "reports" / "benchmark.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [float(row["median_ms"]) for row in written] == [row["median_ms"] for row in rows]
    assert {*rows[0]} - {*written[0]} == {"times_ms", "sha256"}
    table = [line for line in result.stdout.splitlines() if line.startswith(MODEL)]
    assert [f"{row['median_ms']:.2f} ms" in line for row, line in zip(rows, table, strict=True)]
    assert all("5.00 W" in line and "1479 MHz" in line for line in table)


def test_without_tegrastats_there_is_no_power(board: StandIn, tmp_path: Path) -> None:
    """And a broken model leaves the others; and throttling and the power mode are in the report."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("uname", "nvpmodel"):
        (commands / name).symlink_to(COMMANDS / name)
    (board.root / "models" / "broken.onnx").write_bytes(b"no model")
    board.cooling(1, "cpu-balanced", 2)
    result = board.run(
        "benchmark.sh", "--runs", "3", "--out", board.root / "elsewhere",
        PATH=f"{commands}:/usr/bin:/bin", STANDIN_POWER_MODE="5W",
    )  # fmt: skip
    assert_refused(result, "broken.onnx", code=1)
    document = _report(board, "elsewhere")
    assert [row["power_mw"] for row in document["results"]] == [None] * len(document["results"])
    assert all(row["runs"] == 5 for row in document["results"])  # a run of each round
    for row in document["results"]:
        assert "the kernel throttled it (cpu-balanced)" in row["throttling"]
    power, reading = document["notes"]
    assert "power mode 5W" in power
    assert reading.startswith("no power reading: tegrastats")
    assert f"note: {reading}" in result.stdout
    assert not (board.root / "reports").exists()


def test_a_board_that_measures_no_power(board: StandIn) -> None:
    model = board.root / "models" / f"{MODEL}.int8.onnx"
    result = board.run("benchmark.sh", "--quick", model, STANDIN_TEGRASTATS="powerless")
    assert (result.returncode, result.stderr) == (0, "")
    document = _report(board)
    assert {row["file"] for row in document["results"]} == {str(model)}
    assert {row["power_mw"] for row in document["results"]} == {None}
    assert {row["clock_mhz"] for row in document["results"]} == {1479}
    assert document["notes"] == ["no power reading: tegrastats shows no power of this board"]


def test_engines_are_measured_with_the_models(board: StandIn, operator_library: Path) -> None:
    """On stand-ins for TensorRT and PyCUDA, in this Python."""
    _give_python(board, Path(sys.executable))
    variables = tensorrt_variables(board.folder, OLD, operator_library)
    (board.root / "libshiftadd_tensorrt.so").write_bytes(operator_library.read_bytes())
    built = board.run("build_engine.sh", **variables)
    assert (built.returncode, built.stderr) == (0, "")
    result = board.run("benchmark.sh", "--runs", "2", "--quick", **variables)
    assert (result.returncode, result.stderr) == (0, "")
    gpu = [row for row in _report(board)["results"] if row["processor"] == "GPU"]
    assert [(row["name"], row["threads"], row["clock_mhz"]) for row in gpu] == [
        (f"{MODEL}.fp16", 0, 921)
    ]
    assert any(line.startswith(f"{MODEL}.fp16 ") for line in result.stdout.splitlines())


def _gone(board: StandIn) -> None:
    for model in (board.root / "models").glob("*.onnx"):
        model.unlink()


def _a_file(board: StandIn) -> None:
    (board.root / "reports").touch()


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (_gone, ("no model that can be run", "models")),
        (_a_file, ("reports", "no report can be written there", "--out")),
    ],
)
def test_what_stops_it_is_one_line(
    board: StandIn, spoil: Callable[[StandIn], None], parts: tuple[str, ...]
) -> None:
    spoil(board)
    before = board.listing().keys()
    assert_refused(board.run("benchmark.sh", "--runs", "2", "--quick"), *parts)
    new = {path for path in board.listing().keys() - before if "__pycache__" not in path}
    assert new == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_it_leaves_nothing(board: StandIn, number: signal.Signals) -> None:
    marker = f"MARK={board.folder}"
    with subprocess.Popen(
        board.command("benchmark.sh", "--runs", "100000"),
        env=board.environment(STANDIN_MARK=marker), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert "by turns" in process.stdout.readline()
        while not _samplers(marker):
            time.sleep(0.01)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130 if number == signal.SIGINT else -number, "")
    for _ in range(200):
        if not _samplers(marker):
            break
        time.sleep(0.05)
    assert _samplers(marker) == []
    assert not (board.root / "reports").exists()


def _samplers(marker: str) -> list[str]:
    """The tegrastats at work for this test."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "environ").read_text():
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return [command for command in found if "tegrastats" in command]


def test_a_model_that_is_not_there_is_named(board: StandIn) -> None:
    result = board.run("benchmark.sh", "--quick", "nothing.onnx")
    assert result.returncode == 2
    first, last = result.stderr.splitlines()
    assert "nothing.onnx" in first
    assert "no model that can be run" in last


def test_the_error_is_the_runtimes() -> None:
    with pytest.raises(ModelError, match="no model that can be run"):
        benchmark.main(["--models", "/nowhere", "--engines", "/nowhere", "--out", "/nowhere"])

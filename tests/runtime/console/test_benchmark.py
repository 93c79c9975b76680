"""Times that are kept in a histogram, the length of a benchmark, its progress, and signals that end
it with what there is. Runs on Python 3.6."""

import argparse
import io
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

import runtime
from runtime.console import benchmark, progress
from runtime.console.benchmark import Length
from runtime.console.latency import Latencies
from runtime.console.signals import StopRequest, Terminated
from runtime.core.arrays import AnyArray
from runtime.core.session import Session
from tests.support.models.runtime import linear


def filled(times: Any) -> Latencies:
    latencies = Latencies()
    for ms in times:
        latencies.add(float(ms))
    return latencies


def test_percentiles_are_those_of_the_times(rng: np.random.Generator) -> None:
    for count in (1, 2, 3, 10, 99, 100, 101, 5000):
        times = np.exp(rng.normal(2, 1.5, size=count))
        latencies = filled(times)
        ordered = np.sort(times)
        for percent in (0, 1, 50, 90, 99, 100):
            expected = ordered[max(0, int(np.ceil(count * percent / 100)) - 1)]
            assert latencies.percentile(percent) == pytest.approx(expected, rel=1e-3)


def test_figures(rng: np.random.Generator) -> None:
    times = rng.uniform(0.5, 40, size=1000)
    figures = filled(times).figures()
    assert figures["min_ms"] == times.min()
    assert figures["images_per_second"] == pytest.approx(1e3 / times.mean())
    for name, percent in (("median_ms", 50), ("p90_ms", 90), ("p99_ms", 99)):
        assert figures[name] == pytest.approx(np.percentile(times, percent), rel=5e-3)


def test_equal_times_are_their_own_percentiles() -> None:
    figures = filled([7.3] * 50).figures()
    assert figures.pop("images_per_second") == pytest.approx(1e3 / 7.3)
    assert set(figures.values()) == {7.3}


def test_times_beyond_the_histogram_count() -> None:
    latencies = filled([0.0, 1e-9, 1e12, 1e12, 1e12])
    assert latencies.count == 5
    assert latencies.figures()["min_ms"] == 0.0
    assert latencies.percentile(99) == pytest.approx(1e6, rel=1e-3)


def test_lengths() -> None:
    assert benchmark.length("500") == Length(500)
    assert benchmark.length("007") == Length(7)
    assert benchmark.length("30s") == Length(None, 30)
    assert benchmark.length("10min") == Length(None, 600)
    assert benchmark.length("2h") == Length(None, 7200)
    for text in ("", "0", "-5", "0s", "1.5h", "10m", "h", "1h30min", "ten", "5 s"):
        with pytest.raises(argparse.ArgumentTypeError, match="10min"):
            benchmark.length(text)


class Counted(Session):
    """A session that counts its runs, and does `then` in the run number `at`."""

    def __init__(self, path: Path, at: int, then: Any) -> None:
        loaded = runtime.load(path)
        super().__init__(loaded.metadata, loaded.inputs, loaded.outputs)
        self.runs = 0
        self._at = at
        self._then = then

    def _execute(self, inputs: Dict[str, AnyArray]) -> Dict[str, AnyArray]:
        self.runs += 1
        if self.runs == self._at:
            self._then()
        images = inputs["input"]
        return {"logits": np.zeros((len(images), len(self.metadata.labels)), np.float32)}


def measured(session: Session, wanted: Length, capsys: "pytest.CaptureFixture[str]") -> Any:
    image = {"input": np.zeros((1, *session.metadata.input_size), np.float32)}
    try:
        benchmark.run(session, image, "photo.png", wanted, True)
    finally:
        printed = capsys.readouterr()
    assert printed.err == ""
    return json.loads(printed.out)["benchmark"]


WARM_UP = benchmark._WARM_UP_RUNS


def test_a_number_of_runs(
    tmp_path: Path, rng: np.random.Generator, capsys: "pytest.CaptureFixture[str]"
) -> None:
    session = Counted(linear(tmp_path / "m.onnx", rng)[0], 0, None)
    figures = measured(session, Length(40), capsys)
    assert session.runs == 40 + WARM_UP
    assert (figures["runs"], figures["interrupted"]) == (40, False)
    assert figures["file"] == "photo.png"


def test_a_time(
    tmp_path: Path,
    rng: np.random.Generator,
    capsys: "pytest.CaptureFixture[str]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]

    def tick() -> float:
        clock[0] += 0.25
        return clock[0]

    monkeypatch.setattr(time, "perf_counter", tick)
    session = Counted(linear(tmp_path / "m.onnx", rng)[0], 0, None)
    figures = measured(session, Length(None, 30), capsys)
    # Two looks at the clock a run and, in the same module, one of the progress.
    assert 30 / 0.75 - 2 <= figures["runs"] <= 30 / 0.5 + 2
    assert figures["runs"] == session.runs - WARM_UP
    assert figures["median_ms"] == 250


@pytest.mark.parametrize(
    ("number", "exception"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_ends_it_with_the_figures_so_far(
    tmp_path: Path,
    rng: np.random.Generator,
    capsys: "pytest.CaptureFixture[str]",
    number: int,
    exception: type,
) -> None:
    path = linear(tmp_path / "m.onnx", rng)[0]
    session = Counted(path, WARM_UP + 10, lambda: os.kill(os.getpid(), number))
    image = {"input": np.zeros((1, *session.metadata.input_size), np.float32)}
    with pytest.raises(exception):
        benchmark.run(session, image, "photo.png", Length(10**9), True)
    figures = json.loads(capsys.readouterr().out)["benchmark"]
    assert (figures["runs"], figures["interrupted"]) == (10, True)
    assert session.runs == WARM_UP + 10


HANDLED = (signal.SIGINT, signal.SIGTERM)


def test_a_signal_waits_for_the_end_of_the_block() -> None:
    before = [signal.getsignal(number) for number in HANDLED]
    stop, seen = StopRequest(), []

    def interrupted() -> None:
        with stop:
            seen.append(stop.requested)
            os.kill(os.getpid(), signal.SIGINT)
            seen.append(stop.requested)

    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()
    assert type(caught.value) is KeyboardInterrupt
    assert seen == [False, True]
    assert [signal.getsignal(number) for number in HANDLED] == before


def test_an_error_of_the_block_goes_before_the_signal() -> None:
    def broken() -> None:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()


def test_a_second_signal_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: List[List[int]] = []
    ended: List[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)

    def interrupted() -> None:
        with StopRequest():
            for number in HANDLED:
                os.kill(os.getpid(), number)
                codes.append(list(ended))

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert codes == [[], [143]]


def test_without_a_signal_a_block_just_ends() -> None:
    with StopRequest() as stop:
        pass
    assert not stop.requested


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, now = Terminal(), [100.0]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    with progress.TimedProgress("benchmark", 60, "run") as bar:
        for now[0] in (110.0, 130.0, 145.0, 160.0, 161.0):
            bar.advance(5)
    drawn = re.findall(r"\[(#*)\.*\] (\d+) ([\d.]+) runs/s, (\S+) left", terminal.getvalue())
    assert [(len(bar), int(done), left) for bar, done, _, left in drawn] == [
        (4, 5, "0:50"), (12, 10, "0:30"), (18, 15, "0:15"), (24, 20, "0:00"), (24, 25, "0:00"),
    ]  # fmt: skip
    assert drawn[1][2] == "0.3"
    assert terminal.getvalue().endswith("\r\x1b[K")

"""A command that runs for long holds its memory: the resident set does not go on growing."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.test_video import Machine, pictures, write_video
from tests.support.commands import PYTHONS, command, environment, interpreter
from tests.support.models.runtime import REPOSITORY, linear, photo, shift

_INTERVAL = 0.05  # seconds between two looks at the memory


def resident_kib(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def memory_over_time(arguments: Sequence[str], output: Path, **variables: str) -> list[int]:
    """The resident set of a command, in KiB, from its first output to its end."""
    with (
        output.open("wb") as file,
        subprocess.Popen(arguments, stdout=file, env=environment(**variables)) as process,
    ):
        samples = []
        while process.poll() is None:
            if output.stat().st_size:
                samples.append(resident_kib(process.pid))
            time.sleep(_INTERVAL)
    assert process.returncode == 0
    # A process that is ending has none, or less.
    return [sample for sample in samples if sample][:-1]


def assert_flat(samples: list[int]) -> None:
    """It does not go on growing, once a quarter of the time has passed.

    What is kept of every run or frame grows the process all the time: a part in eight of it may
    grow it by a sixth of a percent. The allocator may take another half a MiB at any moment, but
    once, which touches two of the parts: so the median growth counts.
    """
    assert len(samples) >= 16, "too short to tell"
    sizes = [statistics.median(part) for part in np.array_split(samples, 8)]
    growth = statistics.median(np.diff(sizes[2:]))
    assert growth <= sizes[2] / 600, samples


def test_what_grows_is_seen() -> None:
    held = [60_000] * 50 + [60_700] * 50
    assert_flat(held)
    with pytest.raises(AssertionError):
        assert_flat([60_000 + 10 * i for i in range(100)])


@pytest.mark.parametrize("name", PYTHONS)
def test_a_benchmark_holds_its_memory(
    name: str, tmp_path: Path, rng: np.random.Generator, operator_library: Path
) -> None:
    # A list of the times would grow by 10 MB, a sixth of the process.
    runs = 300_000
    model, _ = shift(tmp_path / "m.onnx", rng)
    photo(rng).save(tmp_path / "photo.png")
    arguments = command(
        interpreter(name), "infer.py", model, tmp_path / "photo.png", "--benchmark", str(runs),
        "--json", "--threads", "1", "--library", operator_library,
    )  # fmt: skip
    output = tmp_path / "output"
    assert_flat(memory_over_time(arguments, output))
    assert json.loads(output.read_text().splitlines()[1])["benchmark"]["runs"] == runs


@pytest.mark.parametrize("name", PYTHONS)
def test_a_video_is_classified_without_growing(
    name: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    # As many frames as would be 55 MB if they were kept.
    video = write_video(tmp_path / "long.avi", pictures(rng, 100) * 60)
    machine = Machine(name)
    model, _ = linear(tmp_path / "m.onnx", rng)
    arguments = command(
        machine.python, "infer.py", model, "--video", video, "--headless", "--threads", "1"
    )
    output = tmp_path / "output"
    assert_flat(memory_over_time(arguments, output, PYTHONPATH=machine.opencv))
    assert len(output.read_text().splitlines()) == 6000


def test_onnxruntime_reports_to_nobody(tmp_path: Path, rng: np.random.Generator) -> None:
    """Its reporter is a thread, which `runtime` keeps from being started unless it is wanted."""
    model, _ = linear(tmp_path / "m.onnx", rng)
    count = "import os, sys, runtime; runtime.load(sys.argv[1], threads=1); "
    count += "print(len(os.listdir('/proc/self/task')))"

    def threads(**variables: str) -> int:
        answer = subprocess.run(
            [sys.executable, "-c", count, model],
            capture_output=True, check=True, cwd=REPOSITORY, timeout=60,
            env={"OPENBLAS_NUM_THREADS": "1", **variables},
        )  # fmt: skip
        return int(answer.stdout)

    assert threads() == threads(ORT_DISABLE_TELEMETRY="1")

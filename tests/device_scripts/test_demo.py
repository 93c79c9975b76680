"""What `make demo` ends with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import device_scripts.host.demo.__main__ as demo
from tests.support.commands import in_process

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = "ghostshiftaddnet"


def run(
    model: Path, folder: Path, library: Path, network: str = MODEL
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "device_scripts.host.demo", network, f"--model-file={model}"],
        cwd=folder, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "SHIFTADD_ORT_LIBRARY": str(library)},
    )  # fmt: skip


@pytest.mark.slow
def test_the_demo_is_one_screen(
    bundle_models: Path, operator_library: Path, tmp_path: Path
) -> None:
    (tmp_path / "m").symlink_to(bundle_models)
    done = run(Path("m") / f"{MODEL}.onnx", tmp_path, operator_library)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for part in (
        "worst of 53 layers", "worst of 76 layers", "same best class for 32 of 32",
        "pre-processing", "medians of 30 warm runs", "make infer IMAGE=photo.jpg",
    ):  # fmt: skip
        assert part in done.stdout
    first = lines[next(i for i, line in enumerate(lines) if "float      int8" in line) + 1]
    assert first.split()[0] == "cat"
    for name in (f"{MODEL}-validation.html", f"{MODEL}.int8-validation.html"):
        assert f"build/reports/{name}" in done.stdout
        assert (tmp_path / "build" / "reports" / name).is_file()
    told = [line for line in done.stderr.splitlines() if line.startswith("demo ")]
    assert [line[:8] for line in told] == [f"demo {i}/4" for i in range(1, 5)]


@pytest.fixture
def refused(
    operator_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """What the demo says of a network whose exported file is missing: its last line."""
    monkeypatch.setenv("SHIFTADD_ORT_LIBRARY", str(operator_library))
    monkeypatch.chdir(tmp_path)

    def refusal(network: str) -> str:
        done = in_process(demo.main, network, "--model-file=none.onnx")
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr.splitlines()[-1]

    return refusal


def test_a_model_that_is_missing_is_one_line(refused: Callable[[str], str]) -> None:
    error = refused(MODEL)
    assert error.startswith("error: ")
    assert "none.onnx: no such file" in error


def test_an_unknown_model_ends_it(refused: Callable[[str], str]) -> None:
    assert refused("unknown").startswith("error: unknown model 'unknown'")

"""One session, or one operator's object, for many threads at a time: the same result, no race."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from export import export_model
from export.checkpoint import load_model
from export.models import find_model
from tests.calibration.validation.test_validation import calibrated
from tests.support.commands import PYTHONS, environment, interpreter
from tests.support.models.exported import TinyNet, make_spec, randomise
from tests.support.models.runtime import REPOSITORY
from tests.support.toolchains.cpp_programs import THREADS

SHIPPED = "ghostshiftaddnet"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, operator_library: Path) -> Path:
    """A folder with two networks, float and integer."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(1)
    tiny = export_model(randomise(TinyNet()), make_spec(), "jetson-nano")
    calibrated(folder, "tiny", tiny, operator_library)
    network, sha256 = load_model(SHIPPED)
    shipped = export_model(network, find_model(SHIPPED), checkpoint_sha256=sha256)
    calibrated(folder, SHIPPED, shipped, operator_library)
    return folder


def run(python: str, model: Path, library: Path, runs: int, threads: int | None) -> None:
    """Has the threads of another process share a session, and compares what it reports."""
    cold = 20
    arguments = [str(argument) for argument in (model, library, runs, cold, threads or "")]
    done = subprocess.run(
        [interpreter(python), "-m", "tests.support.children.threads", *filter(None, arguments)],
        capture_output=True, encoding="utf-8", timeout=300, cwd=REPOSITORY, env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report == {"runs": runs, "different": 0, "first": 8 * cold, "first different": 0}


@pytest.mark.parametrize("threads", [1, 2, None])
@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.int8.onnx"])
@pytest.mark.parametrize("python", PYTHONS)
def test_every_kind_of_layer(
    models: Path, operator_library: Path, python: str, name: str, threads: int | None
) -> None:
    """Below ONNX Runtime 1.17, as under Python 3.6, the library's own threads run the nodes."""
    run(python, models / name, operator_library, 10_000, threads)


@pytest.mark.parametrize("name", [f"{SHIPPED}.onnx", f"{SHIPPED}.int8.onnx"])
@pytest.mark.parametrize("python", PYTHONS)
def test_the_shipped_network(models: Path, operator_library: Path, python: str, name: str) -> None:
    run(python, models / name, operator_library, 1_000, 2)


def test_the_thread_sanitizer_finds_no_race() -> None:
    assert " 0 failures" in THREADS.output(THREADS.build("threads_test"))

"""The bundle, unpacked, on an emulated Cortex-A57: its library, its Python, its models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from device_scripts.host.a57 import system
from tests.support.commands import environment
from tests.support.models.bundles import MODEL, unpack


@pytest.fixture(scope="module")
def board(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = system.why_not()
    if missing is not None:
        pytest.skip(f"the bundle is not run: {missing}")
    return unpack(bundle, tmp_path_factory.mktemp("board"))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The emulated Python on a script of the bundle."""
    return subprocess.run(
        [*system.python(), *arguments],
        cwd=folder, capture_output=True, encoding="utf-8", timeout=600, env=environment(),
    )  # fmt: skip


def test_the_models_give_what_they_gave_on_the_host(board: Path) -> None:
    """The integer one the same bytes."""
    result = run(board, "runtime/check.py")
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads((board / "reports" / "check.json").read_text())
    assert report["machine"] == "aarch64"
    integer, float32 = report["models"]
    assert (integer["precision"], integer["passed"], integer["same_bytes"]) == ("int8", True, 6)
    assert (float32["precision"], float32["passed"]) == ("fp32", True)
    assert 0 < float32["relative_error"] <= 1e-5


@pytest.mark.parametrize("ending", [".onnx", ".int8.onnx"])
def test_a_photograph_is_classified(
    board: Path, bundle_models: Path, operator_library: Path, ending: str
) -> None:
    arguments = ("images/chelsea.png", "--json", "--top-k", "10")
    result = run(board, "runtime/infer.py", f"models/{MODEL}{ending}", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    here = subprocess.run(
        [sys.executable, "runtime/infer.py", bundle_models / f"{MODEL}{ending}", *arguments,
         "--library", operator_library],
        cwd=board, capture_output=True, encoding="utf-8", timeout=60, env=environment(),
    )  # fmt: skip
    assert here.returncode == 0, here.stderr
    found, expected = (probabilities(text) for text in (result.stdout, here.stdout))
    assert next(iter(found)) == "cat"
    assert found == pytest.approx(expected, rel=1e-4)


def probabilities(text: str) -> dict[str, Any]:
    return {found["label"]: found["probability"] for found in json.loads(text)["predictions"]}

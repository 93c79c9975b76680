"""The shipped weights: what their cards claim is what a user measures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data

from export.models import MODELS, ModelSpec
from export.models.complexity import measure
from tests.conftest import REPOSITORY

SHIPPED = [spec for spec in MODELS.values() if spec.weights is not None]


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda spec: spec.name)
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported file of one shipped model."""
    folder = tmp_path_factory.mktemp("models")
    _run("-m", "export", request.param.name, "--out", str(folder))
    return folder / f"{request.param.name}.onnx"


def _card(name: str) -> str:
    return (REPOSITORY / "export" / "weights" / f"{name}.md").read_text()


@pytest.mark.parametrize("spec", SHIPPED, ids=lambda spec: spec.name)
def test_card_counts_what_the_network_has(spec: ModelSpec) -> None:
    cost = measure(spec.build(), spec.input_size)
    for count in (cost.parameters, cost.shift_terms, cost.adder_terms):
        assert f"| {count:,} |" in _card(spec.name)
    assert spec.weights is not None
    assert spec.weights.stat().st_size < 5_000_000


def test_accuracy_on_the_card_is_measured(
    shipped: Path, cifar10: Path, operator_library: Path
) -> None:
    report = json.loads(
        _run("runtime/evaluate.py", str(shipped), str(cifar10 / "test.zip"), "--json")
    )
    claimed = re.search(r"top-1, 10,000 test images \| \*\*([\d.]+)%", _card(shipped.stem))
    assert claimed is not None
    assert report["images"] == 10_000
    # Another processor may add in another order: a handful of images at a border may change sides.
    assert 100 * report["top1"] == pytest.approx(float(claimed.group(1)), abs=0.05)


def test_photograph_of_a_cat(shipped: Path, operator_library: Path) -> None:
    photo = Path(skimage.data.__file__).with_name("chelsea.png")
    result = json.loads(_run("runtime/infer.py", str(shipped), str(photo), "--json"))
    assert result["predictions"][0]["label"] == "cat"

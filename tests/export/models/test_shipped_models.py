"""The shipped weights: what their cards claim is what a user measures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data

import runtime
from export import __main__ as export
from export.models import MODELS, ModelSpec
from export.models.complexity import measure
from export.training.publish import unpacked_answers
from runtime.core.image_sets import ImageFolder
from runtime.core.selection import match_classes
from runtime.evaluate import evaluate
from tests.conftest import REPOSITORY

# The number of test images that CI looks at, of 10,000.
SAMPLE = 500
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
    assert export.main([request.param.name, "--out", str(folder)]) == 0
    return folder / f"{request.param.name}.onnx"


def _recorded(name: str) -> list[bool]:
    """Of each test image, whether the exported file got it right when its card was written."""
    return unpacked_answers((REPOSITORY / "export" / "weights" / f"{name}.test.json").read_bytes())


def _card(name: str) -> str:
    return (REPOSITORY / "export" / "weights" / f"{name}.md").read_text()


every_shipped_model = pytest.mark.parametrize("spec", SHIPPED, ids=lambda spec: spec.name)


@every_shipped_model
def test_card_counts_what_the_network_has(spec: ModelSpec) -> None:
    cost = measure(spec.build(), spec.input_size)
    for count in (cost.parameters, cost.shift_terms, cost.adder_terms):
        assert f"| {count:,} |" in _card(spec.name)
    assert spec.weights is not None
    assert spec.weights.stat().st_size < 5_000_000


@every_shipped_model
def test_the_card_has_the_recorded_answers(spec: ModelSpec) -> None:
    right = _recorded(spec.name)
    assert len(right) == 10_000
    assert f"top-1, 10,000 test images | **{sum(right) / len(right):.2%}**" in _card(spec.name)


def test_recorded_answers_are_those_of_the_exported_file(
    shipped: Path, cifar10: Path, operator_library: Path, rng: np.random.Generator
) -> None:
    """Image by image over a fresh sample; `make evaluate` measures all 10,000."""
    data = ImageFolder(str(cifar10 / "test.zip"))
    sample = rng.choice(len(data), SAMPLE, replace=False).tolist()
    session = runtime.load(str(shipped), str(operator_library), 1)
    classes = match_classes(data, session.metadata.labels)
    _, best = evaluate(session, data, classes, sample, batch_size=50)
    right = _recorded(shipped.stem)
    differing = [i for i in sample if (best[i] == classes[data.samples[i][1]]) != right[i]]
    # Another processor may add in another order: an image at a border may change sides.
    assert len(differing) <= SAMPLE // 250


def test_photograph_of_a_cat(shipped: Path, operator_library: Path) -> None:
    photo = Path(skimage.data.__file__).with_name("chelsea.png")
    result = json.loads(_run("runtime/infer.py", str(shipped), str(photo), "--json"))
    assert result["predictions"][0]["label"] == "cat"

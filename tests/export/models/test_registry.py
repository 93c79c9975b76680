"""The registry: a family enters its own models, and a new file is found without a list."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from export.models import MODELS, find_model
from export.models.datasets import CIFAR10
from export.models.registry import register
from tests.conftest import REPOSITORY

FAMILY = """
from torch import nn

from export.models.datasets import CIFAR10
from export.models.registry import register


@register("newcomer", "a new network", CIFAR10, paper="arXiv 0000.00000", weights="n.safetensors")
def newcomer() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
"""

LISTING = """
import sys
import export
export.__path__.insert(0, sys.argv[1])
from export.models import MODELS
print(*MODELS)
"""


@pytest.fixture
def empty_registry() -> Iterator[None]:
    """Takes the entries out for one test, and brings them back in their order."""
    entries = dict(MODELS)
    MODELS.clear()
    yield
    MODELS.clear()
    MODELS.update(entries)


def test_a_new_file_is_all_that_a_family_takes(tmp_path: Path) -> None:
    """In a copy of the folder, since the checkout's own belongs to the other tests, too."""
    models = tmp_path / "models"
    models.mkdir()
    for source in (REPOSITORY / "export" / "models").glob("*.py"):
        (models / source.name).write_text(source.read_text())
    (models / "newcomer.py").write_text(FAMILY)
    done = subprocess.run(
        [sys.executable, "-c", LISTING, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted([*MODELS, "newcomer"])


@pytest.mark.usefixtures("empty_registry")
def test_an_entry_holds_what_its_family_says() -> None:
    @register("plain", "a summary", CIFAR10, paper="a paper", weights="plain.safetensors")
    def build() -> nn.Module:
        return nn.Identity()

    spec = find_model("plain")
    assert (spec.name, spec.summary, spec.paper) == ("plain", "a summary", "a paper")
    assert spec.build is build
    assert (spec.input_size, spec.resize) == (CIFAR10.input_size, CIFAR10.resize)
    assert (spec.mean, spec.std, spec.labels) == (CIFAR10.mean, CIFAR10.std, CIFAR10.labels)
    assert spec.weights == REPOSITORY / "export" / "weights" / "plain.safetensors"


@pytest.mark.usefixtures("empty_registry")
def test_weights_are_none_where_none_are_shipped() -> None:
    register("plain", "", CIFAR10, paper="")(nn.Identity)
    assert find_model("plain").weights is None


@pytest.mark.usefixtures("empty_registry")
def test_a_name_is_given_once() -> None:
    register("plain", "", CIFAR10, paper="")(nn.Identity)
    with pytest.raises(ValueError, match="two models are called 'plain'"):
        register("plain", "", CIFAR10, paper="")(nn.Flatten)
    assert find_model("plain").build is nn.Identity


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"unknown model 'nosuch'; known models: ghostnet, "):
        find_model("nosuch")

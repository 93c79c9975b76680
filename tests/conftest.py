"""Fixtures that the whole test suite shares."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.cases.implementations import instruction_sets
from tests.support.fixtures import (  # noqa: F401 - fixtures of all tests
    operator_library,
    rng,
    training_library,
)
from tests.support.models import bundles

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("ci", deadline=None, print_blob=True)
settings.register_profile("thorough", parent=settings.get_profile("ci"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With SHIFTADD_NO_SKIPS set, as in CI, a test that is left out has failed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SHIFTADD_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"left out: {report.longrepr}"
    return report


@pytest.fixture(params=instruction_sets())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Has the kernels that the test creates use one instruction set; its name."""
    name: str = request.param
    monkeypatch.setenv("SHIFTADD_CPU_ISA", name)
    return name


@pytest.fixture(scope="session")
def bundle_models(
    tmp_path_factory: pytest.TempPathFactory,
    operator_library: Path,  # noqa: F811 - the fixture
) -> Path:
    """A folder with the shipped network's float and integer model."""
    folder = tmp_path_factory.mktemp("models")
    bundles.export_models(folder, operator_library)
    return folder


@pytest.fixture(scope="session")
def bundle(
    tmp_path_factory: pytest.TempPathFactory,
    bundle_models: Path,
    operator_library: Path,  # noqa: F811 - the fixture
) -> Path:
    """The shipped network's bundle for the Jetson Nano."""
    return bundles.make(bundle_models, operator_library, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The folder with CIFAR-10's train.zip and test.zip; tests that need it are skipped without."""
    folder = Path(
        os.environ.get("SHIFTADD_DATA", REPOSITORY.parent / "shared" / "data" / "cifar10")
    )
    if not (folder / "test.zip").is_file():
        pytest.skip(f"{folder}: no CIFAR-10 there; set SHIFTADD_DATA to a folder with test.zip")
    return folder

"""Fixtures that the whole test suite shares."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tests.implementations import instruction_sets

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


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh random numbers: another case every time."""
    return np.random.default_rng()


@pytest.fixture(params=instruction_sets())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Has the kernels that the test creates use one instruction set; its name."""
    name: str = request.param
    monkeypatch.setenv("SHIFTADD_CPU_ISA", name)
    return name


@pytest.fixture(scope="session")
def operator_library() -> Path:
    """The operator library that `make plugins` built; its absence is a failure, not a skip."""
    built = REPOSITORY / "build" / "plugins" / "libshiftadd_ort.so"
    path = Path(os.environ.get("SHIFTADD_ORT_LIBRARY", built))
    if not path.is_file():
        pytest.fail(f"{path}: no operator library; build it with `make plugins`")
    return path


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The folder with CIFAR-10's train.zip and test.zip; tests that need it are skipped without."""
    folder = Path(
        os.environ.get("SHIFTADD_DATA", REPOSITORY.parent / "shared" / "data" / "cifar10")
    )
    if not (folder / "test.zip").is_file():
        pytest.skip(f"{folder}: no CIFAR-10 there; set SHIFTADD_DATA to a folder with test.zip")
    return folder

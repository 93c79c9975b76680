"""Fixtures that the whole test suite shares."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.support.cases.implementations import instruction_sets
from tests.support.fixtures import (  # noqa: F401 - fixtures of all tests
    operator_library,
    rng,
    training_library,
)
from tests.support.models import bundles
from tests.support.shared import made_once

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("ci", deadline=None, print_blob=True)
settings.register_profile("thorough", parent=settings.get_profile("ci"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# These take longest, so that with several workers they start first, the longest of them at the
# beginning: `make test ARGS=--durations=60` shows where time goes.
_LONG_FILES = (
    "plugins/test_cpp_programs.py",
    "fuzz/test_fuzz.py",
    "plugins/test_aarch64.py",
    "plugins/test_old_runtime.py",
    "runtime/test_threads.py",
    "plugins/test_cuda_kernels.py",
    "device_scripts/test_bundle.py",
    "device_scripts/test_gpu_occupancy.py",
    "plugins/test_contract.py",
    "plugins/test_integer.py",
    "device_scripts/test_bundle_arm64.py",
    "device_scripts/test_scripts.py",
    "device_scripts/test_deploy.py",
    "runtime/test_python36.py",
    "runtime/test_soak.py",
    "runtime/test_infer.py",
    "runtime/test_video.py",
)


def worker_of(config: pytest.Config) -> str:
    """The name of this worker of pytest-xdist, "master" where there are none."""
    return str(getattr(config, "workerinput", {}).get("workerid", "master"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: as many workers as this process may use processors."""
    return len(os.sched_getaffinity(0))


def pytest_configure(config: pytest.Config) -> None:
    """Several workers share the processors: PyTorch's threads would wait for each other."""
    if worker_of(config) != "master":
        workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first, where there are workers that a short one at the end keeps together."""
    if worker_of(config) == "master":
        return
    tests = Path(__file__).parent
    ranks = {str(tests / name): rank for rank, name in enumerate(_LONG_FILES)}
    items.sort(key=lambda item: ranks.get(str(item.path), len(ranks)))


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
def worker(request: pytest.FixtureRequest) -> str:
    """The name of this worker of pytest-xdist, "master" where there are none."""
    return worker_of(request.config)


@pytest.fixture(scope="session")
def bundle_models(
    tmp_path_factory: pytest.TempPathFactory,
    worker: str,
    operator_library: Path,  # noqa: F811 - the fixture
) -> Path:
    """A folder with the shipped network's float and integer model. Not to be changed."""

    def make(folder: Path) -> None:
        bundles.export_models(folder, operator_library)

    return made_once(tmp_path_factory, worker, "bundle-models", make)


@pytest.fixture(scope="session")
def bundle(
    tmp_path_factory: pytest.TempPathFactory,
    worker: str,
    bundle_models: Path,
    operator_library: Path,  # noqa: F811 - the fixture
) -> Path:
    """The shipped network's bundle for the Jetson Nano. Not to be changed."""

    def make(folder: Path) -> None:
        bundles.make(bundle_models, operator_library, folder)

    return made_once(tmp_path_factory, worker, "bundle", make) / bundles.NAME


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The folder with CIFAR-10's train.zip and test.zip; tests that need it are skipped without."""
    folder = Path(
        os.environ.get("SHIFTADD_DATA", REPOSITORY.parent / "shared" / "data" / "cifar10")
    )
    if not (folder / "test.zip").is_file():
        pytest.skip(f"{folder}: no CIFAR-10 there; set SHIFTADD_DATA to a folder with test.zip")
    return folder

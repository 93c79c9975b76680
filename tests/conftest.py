"""Fixtures that the whole test suite shares."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
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
from tests.support.speed import LONG_FILES, SLOW_FILES, SLOW_FIXTURES

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("ci", deadline=None, print_blob=True)
settings.register_profile("thorough", parent=settings.get_profile("ci"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# How many fast tests each collected file has, by its name below tests/.
FAST_TESTS = pytest.StashKey[dict[str, int]]()


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


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` leaves any out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what is slow, and counts what is not; with workers, long files come first."""
    counts = config.stash.setdefault(FAST_TESTS, {})
    for item in items:
        name = _name(item)
        if name in SLOW_FILES or SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        counts[name] = counts.get(name, 0) + (item.get_closest_marker("slow") is None)
    if worker_of(config) != "master":
        ranks = {name: rank for rank, name in enumerate(LONG_FILES)}
        items.sort(key=lambda item: ranks.get(_name(item), len(ranks)))


def _name(item: pytest.Item) -> str:
    """The name of a test's file below tests/."""
    return item.path.relative_to(Path(__file__).parent).as_posix()


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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: where batches or layers are small, more only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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

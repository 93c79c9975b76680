"""The fixtures of the runtime's tests, without what the others need. Runs on Python 3.6."""

import os
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh random numbers: another case every time."""
    return np.random.default_rng()


def _built_library(variable: str, name: str) -> Path:
    path = Path(os.environ.get(variable, REPOSITORY / "build" / "plugins" / name))
    if not path.is_file():
        pytest.fail(f"{path}: no such library; build it with `make plugins`")
    return path


@pytest.fixture(scope="session")
def operator_library() -> Path:
    """The operator library that `make plugins` built; its absence is a failure, not a skip."""
    return _built_library("SHIFTADD_ORT_LIBRARY", "libshiftadd_ort.so")


@pytest.fixture(scope="session")
def training_library() -> Path:
    """The training library that `make plugins` built; its absence is a failure, not a skip."""
    return _built_library("SHIFTADD_TRAINING_LIBRARY", "libshiftadd_training.so")

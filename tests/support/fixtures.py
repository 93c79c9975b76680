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


@pytest.fixture(scope="session")
def operator_library() -> Path:
    """The operator library that `make plugins` built; its absence is a failure, not a skip."""
    built = REPOSITORY / "build" / "plugins" / "libshiftadd_ort.so"
    path = Path(os.environ.get("SHIFTADD_ORT_LIBRARY", built))
    if not path.is_file():
        pytest.fail(f"{path}: no operator library; build it with `make plugins`")
    return path

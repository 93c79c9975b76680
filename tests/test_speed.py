"""What `make test-fast` runs: something of every file, but for those that say why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import FAST_TESTS
from tests.support.speed import LONG_FILES, SLOW_FILES

TESTS = Path(__file__).parent


def test_every_other_file_has_a_fast_test(pytestconfig: pytest.Config) -> None:
    """Of the files that this run collected: in a run of all, these are all."""
    counts = pytestconfig.stash[FAST_TESTS]
    without = {name for name, fast in counts.items() if fast == 0}
    assert without <= SLOW_FILES.keys()


@pytest.mark.parametrize("name", [*SLOW_FILES, *LONG_FILES])
def test_the_files_are_there(name: str) -> None:
    assert (TESTS / name).is_file()

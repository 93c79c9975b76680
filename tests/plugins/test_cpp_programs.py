"""The contract header, the codec and the kernels in C++, under the sanitizers.

Every array ends where its memory ends there, so that a read or write behind one is seen.
"""

from __future__ import annotations

import pytest

from tests.support.cases.implementations import instruction_sets
from tests.support.toolchains.cpp_programs import SANITIZED


def test_contract_and_codec() -> None:
    assert " 0 failures" in SANITIZED.output(SANITIZED.build("contract_test"))


@pytest.mark.parametrize("name", ["kernels_test", "integer_test"])
def test_kernels_stay_within_their_arrays(name: str) -> None:
    assert " 0 failures" in SANITIZED.output(SANITIZED.build(name))


@pytest.mark.parametrize("isa", instruction_sets())
def test_training_kernels_stay_within_their_arrays(
    monkeypatch: pytest.MonkeyPatch, isa: str
) -> None:
    monkeypatch.setenv("SHIFTADD_CPU_ISA", isa)
    assert " 0 failures" in SANITIZED.output(SANITIZED.build("training_test"))

"""Networks as people write them, which are handed to the project beside its checkout."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

SHARED = Path(__file__).resolve().parents[4] / "shared" / "cases" / "idioms.py"


def shared_cases() -> tuple[ModuleType, list[str]]:
    """The module, and the names of its functions, each of which makes a network; skips the test
    where there is none."""
    if not SHARED.is_file():
        pytest.skip(f"no {SHARED}")
    description = importlib.util.spec_from_file_location("shared_idioms", SHARED)
    assert description is not None
    assert description.loader is not None
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    functions = {n: f for n, f in vars(module).items() if isinstance(f, FunctionType)}
    names = [name for name in functions if not name.startswith("_")]
    assert len(names) >= 16
    return module, names

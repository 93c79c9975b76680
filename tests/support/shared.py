"""What all workers of a test run share: made once, by whichever needs it first."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(
    factory: pytest.TempPathFactory, worker: str, name: str, make: Callable[[Path], None]
) -> Path:
    """A folder that `make` has filled, the same for all workers of this run.

    The folder is one of this run's, so that it is never a stale one of a run before. A worker that
    comes while another is at it waits; where `make` failed, the next one tries again.
    """
    if worker == "master":  # there are no workers
        folder = factory.mktemp(name)
        make(folder)
        return folder
    run = factory.getbasetemp().parent
    folder, stamp = run / name, run / f"{name}.complete"
    with (run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            stamp.touch()
    return folder

"""Runs the runtime's commands as a user does: scripts, under this Python and the Nano's."""

import io
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from runtime.console.commandline import leave
from tests.support.models.runtime import REPOSITORY
from tests.support.toolchains.python36 import find_python36, venv36

# Python writes these into a checkout while it is copied.
WRITTEN_MEANWHILE = shutil.ignore_patterns("__pycache__")

THIS_PYTHON = "this Python"
PYTHONS = (THIS_PYTHON, pytest.param("Python 3.6", marks=pytest.mark.slow))


def interpreter(name: str) -> Path:
    """The executable of one of PYTHONS, by name; skips the test where that is missing."""
    if name == THIS_PYTHON:
        return Path(sys.executable)
    if find_python36() is None:
        pytest.skip("no Python 3.6 is installed: the Jetson Nano's version is not checked here")
    return venv36()


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with UTF-8 pipes, without libraries of the user's."""
    libraries = ("SHIFTADD_ORT_LIBRARY", "SHIFTADD_TENSORRT_LIBRARY", "SHIFTADD_TRAINING_LIBRARY")
    inherited = {key: value for key, value in os.environ.items() if key not in libraries}
    return {**inherited, "PYTHONIOENCODING": "utf-8", **variables}


def command(python: Path, script: str, *arguments: str | Path) -> list[str]:
    """The argument list of `python runtime/<script> arguments`."""
    return [str(python), str(REPOSITORY / "runtime" / script), *map(str, arguments)]


def run(
    python: Path, script: str, *arguments: str | Path, cwd: Path | None = None, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end; `variables` are added to its environment."""
    return subprocess.run(
        command(python, script, *arguments),
        capture_output=True, encoding="utf-8", timeout=120, cwd=cwd, env=environment(**variables),
    )  # fmt: skip


def in_process(
    main: Callable[[Sequence[str] | None], int], *arguments: str | Path
) -> "subprocess.CompletedProcess[str]":
    """Runs a command's `main` to its end as a process of its own would: exit code and both outputs.

    It is for what is refused or takes no time: a process that imports PyTorch first takes seconds.
    One test of each command starts the process.
    """
    texts = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    code: str | int | None = 0
    with warnings.catch_warnings(), redirect_stdout(texts[0]), redirect_stderr(texts[1]):
        try:
            leave(main, list(map(str, arguments)))
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    stdout, stderr = (text.buffer.getvalue().decode() for text in texts)
    return subprocess.CompletedProcess([], code, stdout, stderr)


@contextmanager
def interruptible(
    arguments: list[str], stderr: int, **variables: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """A command that SIGINT reaches, as from a terminal, and that outlives no failed test.

    What a shell starts in the background ignores SIGINT, and so does all that it starts: the tests
    would wait for ever there. Its output is not buffered here: `communicate` would miss what a
    `readline` before it had taken into the buffer.
    """
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=stderr, bufsize=0, env=environment(**variables),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def assert_refused(result: "subprocess.CompletedProcess[str]", *parts: str, code: int = 2) -> None:
    """Exit code `code`, and exactly one line on stderr, which holds all of `parts`."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    for part in parts:
        assert part in lines[0]

"""Finds a CPython 3.6 and keeps a cached environment of it: the Jetson Nano's Python and packages.

The Nano's last JetPack has Python 3.6.9, NumPy 1.19.5 and ONNX Runtime 1.10.0. Tests run
`runtime/` and the operator library in that environment where some Python 3.6 is installed, and so
do those tests of the runtime that import it (test_runtime_python36.py).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
ENVIRONMENT = REPOSITORY / "build" / "py36"
TEST_FOLDER = ENVIRONMENT / "test-packages"
PIP = "pip==21.3.1"  # the last release that runs on Python 3.6
PACKAGES = ("numpy==1.19.5", "onnxruntime==1.10.0", "Pillow==8.4.0")
# What the tests themselves need there, with all that it needs: in a folder of its own, as the
# runtime has to do without.
TEST_PACKAGES = (
    *("pytest==7.0.1", "attrs==22.2.0", "importlib-metadata==4.8.3", "iniconfig==1.1.1"),
    *("packaging==21.3", "pluggy==1.0.0", "py==1.11.0", "pyparsing==3.1.4", "tomli==1.2.3"),
    *("zipp==3.6.0", "onnx==1.11.0", "protobuf==3.19.6", "typing-extensions==4.1.1"),
)


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("python3.6")
    if on_path:
        yield Path(on_path)
    roots = [Path.home() / ".pyenv", Path("/opt/pyenv"), Path("/usr/local/pyenv")]
    if "PYENV_ROOT" in os.environ:
        roots.insert(0, Path(os.environ["PYENV_ROOT"]))
    for root in roots:
        yield from sorted(root.glob("versions/3.6*/bin/python3.6"), reverse=True)


def _real_executable(python: Path) -> Path | None:
    """The interpreter that `python` starts if it is a working CPython 3.6 with venv.

    A pyenv shim exists even where its version is not selected and then fails when run.
    """
    probe = "import sys, venv, ensurepip; print(sys.version_info[:2] == (3, 6), sys.executable)"
    try:
        answer = subprocess.run(
            [python, "-c", probe], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    matches, _, executable = answer.stdout.strip().partition(" ")
    return Path(executable) if matches == "True" else None


@lru_cache(maxsize=1)
def find_python36() -> Path | None:
    """Path of a working CPython 3.6 on PATH or under pyenv, or None."""
    for candidate in _candidates():
        executable = _real_executable(candidate)
        if executable is not None:
            return executable
    return None


def _pip_install(python: Path, *requirements: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--only-binary=:all:", *requirements]
    # The pip that comes with Python 3.6 fails on PIP_NO_CACHE_DIR=1.
    variables = {key: value for key, value in os.environ.items() if key != "PIP_NO_CACHE_DIR"}
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=600, env=variables)


def _create(base: Path) -> None:
    """Builds the environment; its stamp is written last, so half an environment is never used."""
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    subprocess.run([base, "-m", "venv", ENVIRONMENT], check=True, timeout=300)
    python = ENVIRONMENT / "bin" / "python"
    _pip_install(python, PIP)
    _pip_install(python, *PACKAGES)
    _pip_install(python, "--no-deps", "--target", str(TEST_FOLDER), *TEST_PACKAGES)


def venv36() -> Path:
    """Python executable of the cached Python 3.6 environment, created on first use.

    Raises RuntimeError where no Python 3.6 is installed (ask find_python36 first) and
    subprocess.CalledProcessError where an install fails. Safe to call from several processes.
    """
    base = find_python36()
    if base is None:
        raise RuntimeError("no Python 3.6 found on PATH or under pyenv: install one with pyenv")
    stamp = ENVIRONMENT / ".complete"
    wanted = "\n".join([str(base), PIP, *PACKAGES, *TEST_PACKAGES])
    ENVIRONMENT.parent.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENT.parent / "py36.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted:
            _create(base)
            stamp.write_text(wanted)
    return ENVIRONMENT / "bin" / "python"


if __name__ == "__main__":
    print(venv36())

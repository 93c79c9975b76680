"""Runs the checkout's programs: never by a shell, and with the variables as arguments."""

import os
import shutil
import subprocess
from typing import Dict, List, NoReturn, Optional, Sequence

from device_scripts.host.commands.problems import FailedError, RefusedError
from device_scripts.host.commands.variables import environment_of_programs

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.join(ROOT, "build")
LOCKS = os.path.join(BUILD, "locks")
VENV = os.path.join(ROOT, ".venv")
PY = os.path.join(VENV, "bin", "python")


def environment(**more: str) -> Dict[str, str]:
    """What a program inherits: the tools of `.venv` come first."""
    inherited = environment_of_programs(os.environ)
    path = os.pathsep.join([os.path.join(VENV, "bin"), inherited.get("PATH", os.defpath)])
    return dict(inherited, PATH=path, **more)


def cross_compiler() -> Dict[str, str]:
    """The cross-compiler is a package in .venv. What it makes of its own C and C++ libraries, which
    takes minutes, is kept there too."""
    return {"ZIG_PYTHON": PY, "ZIG_GLOBAL_CACHE_DIR": os.path.join(VENV, "zig-cache")}


def run(command: Sequence[str], lock: Optional[int] = None, **more: str) -> None:
    """Runs a program to its end; FailedError where it fails. `lock` is inherited (see locks.py)."""
    _flush()
    try:
        code = subprocess.call(
            command, cwd=ROOT, env=environment(**more), pass_fds=[] if lock is None else [lock]
        )
    except OSError as error:
        raise _cannot_run(command, error) from error
    if code != 0:
        raise FailedError(128 - code if code < 0 else code)


def become(command: Sequence[str], **more: str) -> NoReturn:
    """Replaces this process by a program: its exit code and its signals are those of the target."""
    _flush()
    variables = environment(**more)
    try:
        os.chdir(ROOT)
        os.execvpe(command[0], list(command), variables)
    except OSError as error:
        raise _cannot_run(command, error) from error


def answer(command: Sequence[str], **more: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program to its end, and gives what it printed and its exit code."""
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment(**more), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
        )  # fmt: skip
    except OSError as error:
        raise _cannot_run(command, error) from error


def module(name: str, *arguments: str) -> List[str]:
    """The command that runs a module of the checkout in `.venv`."""
    return [PY, "-m", name, *arguments]


def script(path: str, *arguments: str) -> List[str]:
    """The command that runs a script of the checkout in `.venv`."""
    return [PY, path, *arguments]


def find(tool: str) -> Optional[str]:
    """A tool's path, in `.venv` or on PATH; None where there is none."""
    return shutil.which(tool, path=environment()["PATH"])


def interpreter(python: str) -> str:
    """The path of a Python that is not `.venv`'s. Raises RefusedError where there is none."""
    found = shutil.which(python)
    if found is None:
        raise RefusedError("{}: no such Python".format(python))
    return os.path.abspath(found)


def _flush() -> None:
    """Has what was printed stand before what a program prints. There may be no output (`>&-`), to
    which print has nothing to say."""
    print(end="", flush=True)


def _cannot_run(command: Sequence[str], error: OSError) -> RefusedError:
    return RefusedError("{}: cannot be run: {}".format(command[0], error.strerror))

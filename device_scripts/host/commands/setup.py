"""Makes `.venv` with everything that is needed, pinned."""

import os
import sys
from typing import Callable, Sequence

from device_scripts.host.commands.locks import locked
from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.programs import LOCKS, PY, ROOT, VENV, run

_OLDEST = (3, 10)
# Python compiles a module when it is first imported; compiling all that is installed takes half of
# the installation's time, and most of it is never imported.
_INSTALL = (PY, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
_READY = os.path.join(VENV, ".ready")


def is_set_up() -> bool:
    """Whether `.venv` has what the requirements ask for today."""
    return _is_newer(_READY, ["requirements.txt", "requirements-dev.txt"])


def set_up() -> None:
    """Makes `.venv` unless it is there and newer than the requirements."""

    def install(lock: int) -> None:
        _check_python()
        print("setup: making .venv (some minutes the first time)", flush=True)
        run([sys.executable, "-m", "venv", VENV], lock)
        run([*_INSTALL, "-r", "requirements-dev.txt"], lock)

    _once(_READY, ["requirements.txt", "requirements-dev.txt"], install)


def set_up_nvidia() -> None:
    """Adds what the tests take of NVIDIA's, 220 MB; nobody else needs it."""
    set_up()

    def install(lock: int) -> None:
        run([*_INSTALL, "--no-deps", "-r", "requirements-nvidia.txt"], lock)

    _once(os.path.join(VENV, ".nvidia"), [_READY, "requirements-nvidia.txt"], install)


def set_up_peers() -> str:
    """Makes `.venv-peers`, which has the engines that ours is measured beside; its Python."""
    folder = os.path.join(ROOT, ".venv-peers")
    python = os.path.join(folder, "bin", "python")

    def install(lock: int) -> None:
        print(
            "bench: making .venv-peers with the engines of requirements-peers.txt (some minutes)",
            flush=True,
        )
        run([sys.executable, "-m", "venv", folder], lock)
        run([python, *_INSTALL[1:], "-r", "requirements-peers.txt"], lock)

    _once(os.path.join(folder, ".ready"), ["requirements-peers.txt"], install)
    return python


def _once(stamp: str, sources: Sequence[str], install: Callable[[int], None]) -> None:
    """Calls `install`, under a lock, unless the stamp is newer than the sources."""
    if _is_newer(stamp, sources):
        return
    with locked(LOCKS, "setup") as lock:
        if not _is_newer(stamp, sources):
            install(lock)
            with open(stamp, "a"):
                os.utime(stamp)


def _check_python() -> None:
    if sys.version_info < _OLDEST:
        raise RefusedError(
            "setup: {} is Python {}.{}, older than 3.10; set PYTHON=/path/to/python3.10 or "
            "newer".format(sys.executable, *sys.version_info[:2])
        )
    try:
        import ensurepip  # noqa: F401 - whether it is there
        import venv  # noqa: F401 - whether it is there
    except ImportError:
        raise RefusedError(
            "setup: {} has no venv module; install it (Debian and Ubuntu: apt-get install "
            "python3-venv)".format(sys.executable)
        ) from None


def _is_newer(stamp: str, sources: Sequence[str]) -> bool:
    """Whether the stamp is there and no source is newer; sources are relative to the checkout."""
    try:
        made = os.stat(stamp).st_mtime
    except FileNotFoundError:
        return False
    return all(os.stat(os.path.join(ROOT, source)).st_mtime <= made for source in sources)

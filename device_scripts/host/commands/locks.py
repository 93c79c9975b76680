"""Keeps two `make` in one checkout from making the same thing at the same time."""

import contextlib
import fcntl
import os
from typing import Iterator

from device_scripts.host.commands.problems import RefusedError


@contextlib.contextmanager
def locked(folder: str, name: str) -> Iterator[int]:
    """Holds the lock `name`, a file in `folder`; says so in a line while another process has it.

    The value is the lock's file descriptor. A child that inherits it (`pass_fds`) goes on holding
    the lock where this process is killed before it. Raises RefusedError where there can be no lock.
    """
    path = os.path.join(folder, name + ".lock")
    try:
        descriptor = _acquire(path, name)
    except OSError as error:
        raise RefusedError("{}: cannot be locked: {}".format(path, error.strerror)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(path: str, name: str) -> int:
    while True:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another make in this checkout ({})".format(name), flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # `make clean` may have removed the file meanwhile: then somebody else can lock a new one.
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False

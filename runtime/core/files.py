"""Files that are read whole, and files that are written whole or not at all."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
from typing import BinaryIO, Iterator, Union

from runtime.core.errors import ShiftAddError, reason

_CHUNK = 1 << 20

Path = Union[str, "os.PathLike[str]"]


@contextlib.contextmanager
def replaced(path: Path, what: str) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` at the end of the block; missing folders are made.

    Its content is on the disk before it gets the name, so that not even a power cut leaves half a
    file. Where an exception leaves the block, the new file is removed and an older one stays as it
    was. What a process that was killed has left of such a file is removed first.

    Raises ShiftAddError, in one line that says `what` it was to be, when it cannot be written.
    """
    folder = os.path.dirname(os.path.abspath(path))
    prefix = ".{}.".format(os.path.basename(path))
    aside = os.path.join(folder, prefix + str(os.getpid()))
    try:
        os.makedirs(folder, exist_ok=True)
        _sweep(folder, prefix)
        with _locked(aside) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(aside, path)
    except OSError as error:
        raise ShiftAddError(
            "{}: cannot write the {}: {}".format(path, what, reason(error))
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(aside)


def _locked(path: str) -> BinaryIO:
    """A new file, locked: by this another process can tell it from one that nobody writes."""
    while True:
        file = open(path, "wb")  # noqa: SIM115 - the caller closes it
        # Not every network's file system has locks; what is left there stays.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        # It may have been swept away before it was locked.
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def _sweep(folder: str, prefix: str) -> None:
    """Removes the files whose names are `prefix` and a process's number, and which none writes."""
    for name in os.listdir(folder):
        if not re.fullmatch(re.escape(prefix) + "[0-9]+", name):
            continue
        with contextlib.suppress(OSError), open_regular(os.path.join(folder, name)) as left:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(os.path.join(folder, name))


def replace(path: Path, content: bytes, what: str) -> None:
    """Writes `content` to `path` as `replaced` does."""
    with replaced(path, what) as file:
        file.write(content)


def open_regular(path: Path) -> BinaryIO:
    """The regular file at `path`, open for reading. Raises OSError, for anything else too: whoever
    reads a pipe waits for its writer, and a device may never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def sha256(path: Path) -> str:
    """The SHA-256 of the file at `path`, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()

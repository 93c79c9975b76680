"""Files that are read whole, and files that are written whole or not at all."""

import contextlib
import errno
import hashlib
import os
import stat
from typing import BinaryIO, Iterator, Union

from runtime.core.errors import ShiftAddError, reason

_CHUNK = 1 << 20

Path = Union[str, "os.PathLike[str]"]


@contextlib.contextmanager
def replaced(path: Path, what: str) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` at the end of the block; missing folders are made.

    Where an exception leaves the block, the new file is removed and an older one stays as it was.
    Raises ShiftAddError, in one line that says `what` it was to be, when it cannot be written.
    """
    aside = os.path.join(
        os.path.dirname(path), ".{}.{}".format(os.path.basename(path), os.getpid())
    )
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(aside, "wb") as file:
            yield file
        os.replace(aside, path)
    except OSError as error:
        raise ShiftAddError(
            "{}: cannot write the {}: {}".format(path, what, reason(error))
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(aside)


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

"""Holds back what native code prints on stderr."""

import os
import sys
import tempfile


class NativeStderr:
    """`with NativeStderr() as printed:` - afterwards `printed.text` holds what any thread wrote to
    file descriptor 2 meanwhile; none of it reached the terminal.

    It uses a file and no pipe: nobody reads while native code runs, and a full pipe would block it.
    """

    def __init__(self) -> None:
        self.text = ""

    def __enter__(self) -> "NativeStderr":
        sys.stderr.flush()
        self._terminal = os.dup(2)
        self._file = tempfile.TemporaryFile()
        os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(self, *_: object) -> None:
        os.dup2(self._terminal, 2)
        os.close(self._terminal)
        with self._file:
            self._file.seek(0)
            self.text = self._file.read().decode("utf-8", "backslashreplace")

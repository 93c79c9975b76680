"""The standard streams of a process."""

import os
import sys
from typing import TextIO


def reopen_closed() -> None:
    """Opens the standard streams that the process was started without (`>&-`); they lead nowhere.

    A file that is opened later would get the number of a closed one, and with it what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or _nowhere(1)
    sys.stderr = sys.stderr or _nowhere(2)


def _nowhere(number: int) -> TextIO:
    return os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)

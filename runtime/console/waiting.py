"""Waits for native code that takes minutes, and stays open to an interrupt meanwhile."""

import sys
import threading
import time
from typing import Callable, List, TypeVar

T = TypeVar("T")
_INTERVAL = 0.5  # seconds between two drawings


def wait_for(job: Callable[[], T], title: str) -> T:
    """Returns or raises what `job` does; on a terminal a line on stderr counts the time meanwhile.

    The job runs in a thread: Python hears of an interrupt only when native code comes back, which
    here would be minutes later. After a KeyboardInterrupt the job still runs: the process has to
    end without waiting for it (os._exit).
    """
    results: List[T] = []
    errors: List[BaseException] = []

    def run() -> None:
        try:
            results.append(job())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    start = time.perf_counter()
    try:
        while thread.is_alive():
            thread.join(_INTERVAL)
            _draw(title, time.perf_counter() - start)
    finally:
        _clear()
    if errors:
        # Taking the error out of the list leaves no reference in this frame, which would keep alive
        # all that the error's frames hold.
        raise errors.pop()
    return results[0]


def _draw(title: str, seconds: float) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r{} {}:{:02d}\x1b[K".format(title, *divmod(int(seconds), 60)))
        sys.stderr.flush()


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()

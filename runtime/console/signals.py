"""SIGINT and SIGTERM while something is at stake: figures that were measured, an open camera."""

import os
import signal
from types import FrameType
from typing import Any, Dict, Optional


class Terminated(KeyboardInterrupt):
    """SIGTERM came: somebody asked for the end, as with the interrupt key."""


def raise_on_sigterm() -> None:
    """Has SIGTERM raise Terminated in the main thread, as SIGINT raises KeyboardInterrupt."""
    signal.signal(signal.SIGTERM, _raise)


class StopRequest:
    """`with StopRequest() as stop:` - SIGINT and SIGTERM only make `stop.requested` true.

    The end of the block raises the exception that the signal would have raised. A second signal
    ends the process at once: the user has waited for long enough. Only the main thread may use it.
    """

    def __init__(self) -> None:
        self._signal: Optional[int] = None
        self._handlers: Dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        return self._signal is not None

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._signal is not None and exception[0] is None:
            raise Terminated() if self._signal == signal.SIGTERM else KeyboardInterrupt()

    def _handle(self, number: int, _: Optional[FrameType]) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number


def _raise(number: int, frame: Optional[FrameType]) -> None:
    raise Terminated()

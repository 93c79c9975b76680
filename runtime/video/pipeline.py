"""Reads frames in one thread and works on them in another, so that neither waits for the third, the
one that shows the results."""

import threading
import time
from collections import deque
from typing import Callable, Deque, Generic, NamedTuple, Optional, TypeVar

from runtime.core.arrays import PixelArray
from runtime.core.errors import DataError
from runtime.video.handover import Handover
from runtime.video.sources import Source

R = TypeVar("R")

# The most frames of a file that are decoded ahead, and the most results that wait to be taken.
_AHEAD = 4
_RESULTS = 16
# Seconds without a frame after which a camera counts as gone: the first number is for one that is
# starting, which takes a CSI camera some seconds, the second for one that has given frames.
_STARTING, _RUNNING = 15.0, 5.0
_RETRY = 0.1  # seconds from one failed read of a camera to the next
_ENDING = 3.0  # seconds in which threads have to end; a frame takes far less


class Frame(NamedTuple):
    """A frame's number, from 0, its time stamp, and its pixels, BGR, uint8 [H, W, 3]."""

    number: int
    seconds: float
    pixels: PixelArray


class Meter:
    """Counts events, and how many there are a second: `recent` is over the last 30 events, `rate`
    over all. Both are 0 before the second event."""

    def __init__(self) -> None:
        self.count = 0
        self.recent = 0.0
        self.rate = 0.0
        self._first = 0.0
        self._times: Deque[float] = deque(maxlen=30)

    def tick(self) -> None:
        """Counts one event, at this moment."""
        now = time.perf_counter()
        self.count += 1
        self._times.append(now)
        if self.count == 1:
            self._first = now
        elif now > self._times[0]:
            self.recent = (len(self._times) - 1) / (now - self._times[0])
            self.rate = (self.count - 1) / (now - self._first)


class Pipeline(Generic[R]):
    """`with Pipeline(source, work) as pipeline:` reads and works until the source ends.

    From a live source `work` gets the newest frame; older ones that it had no time for are dropped.
    From a file it gets every frame, in order, and reading waits for it. `results` hands over what
    `work` returned, in order, and `work` waits until somebody takes it; with `newest_result` only
    the newest result is kept, and `work` never waits. With `at_speed` a file is read no faster than
    it plays.

    `ended` says that a file was read to its end. `raise_if_broken` raises, in the thread that calls
    it, what went wrong in another.
    """

    def __init__(
        self,
        source: Source,
        work: Callable[[Frame], R],
        newest_result: bool = False,
        at_speed: bool = False,
    ) -> None:
        self.results: "Handover[R]" = Handover(1 if newest_result else _RESULTS, newest_result)
        self.newest_frame: Optional[Frame] = None
        self.captured = Meter()
        self.worked = Meter()
        self.ended = False
        self.stuck = False
        self._source = source
        self._work = work
        self._at_speed = at_speed and not source.live
        self._frames: "Handover[Frame]" = Handover(1 if source.live else _AHEAD, source.live)
        self._stopped = threading.Event()
        self._error: Optional[BaseException] = None
        self._last_frame = time.perf_counter()
        # The threads are daemons, since a camera's driver may never return from a read.
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._read, self._run)
        ]

    @property
    def dropped(self) -> int:
        """Frames that were captured and not worked on."""
        return self._frames.dropped

    def __enter__(self) -> "Pipeline[R]":
        self._last_frame = time.perf_counter()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Makes the threads end and release the source. `stuck` says that they had not after some
        seconds, since a driver does not return."""
        self._stopped.set()
        self._frames.discard()
        self.results.discard()
        end = time.perf_counter() + _ENDING
        for thread in self._threads:
            thread.join(max(0.0, end - time.perf_counter()))
        self.stuck = any(thread.is_alive() for thread in self._threads)

    def raise_if_broken(self) -> None:
        """Raises what ended the work, once the results before it are taken, and DataError when a
        live source delivers no frames any more."""
        if self._error is not None and self.results.finished:
            raise self._error
        silence = time.perf_counter() - self._last_frame
        if self._source.live and silence > (_RUNNING if self.captured.count else _STARTING):
            raise DataError(
                "{}: the camera has given no frame for {:.0f} seconds: is it still connected?"
                .format(self._source.name, silence)
            )  # fmt: skip

    def _read(self) -> None:
        try:
            self._source.open()
            try:
                self._hand_over_frames()
            finally:
                self._source.release()
        except BaseException as error:
            self._error = self._error or error
        finally:
            self._frames.close()

    def _hand_over_frames(self) -> None:
        start = time.perf_counter()
        while not self._stopped.is_set():
            pixels = self._source.read()
            if pixels is None:
                if not self._source.live:
                    self.ended = True
                    return
                self._stopped.wait(_RETRY)
                continue
            number = self.captured.count
            frame = Frame(number, self._source.seconds(number), pixels)
            if self._at_speed:
                self._stopped.wait(max(0.0, start + frame.seconds - time.perf_counter()))
            self._last_frame = time.perf_counter()
            self.captured.tick()
            self.newest_frame = frame
            if not self._frames.put(frame):
                return

    def _run(self) -> None:
        try:
            while True:
                frame = self._frames.get()
                if frame is None or not self.results.put(self._work(frame)):
                    return
                self.worked.tick()
        except BaseException as error:
            self._error = self._error or error
        finally:
            # The reader must not wait for a worker that takes nothing any more.
            self._frames.discard()
            self.results.close()

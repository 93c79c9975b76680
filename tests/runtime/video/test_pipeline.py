"""Reading, working and showing each go on while another is held up: shown with events, no clocks.
Runs on Python 3.6."""

import threading
import time
from typing import Any, Callable, List, Optional, Tuple

import numpy as np
import pytest

from runtime.core.errors import DataError, ModelError
from runtime.video import pipeline as module
from runtime.video.handover import Handover
from runtime.video.pipeline import Frame, Meter, Pipeline
from runtime.video.sources import Source

WAIT = 60.0  # seconds after which a test has failed; none takes them
PIXELS = np.zeros((2, 3, 3), np.uint8)


class Scripted(Source):
    """Frames as `script` gives them for the number of the read; StopIteration is a file's end."""

    def __init__(self, script: Callable[[int], Optional[Any]], live: bool) -> None:
        super().__init__("scripted")
        self.live = live
        self.calls: List[str] = []
        self.spacing = 0.0
        self._script = script
        self._reads = 0

    def open(self) -> None:
        self.calls.append("open")

    def read(self) -> Optional[Any]:
        self._reads += 1
        return self._script(self._reads - 1)

    def seconds(self, frame: int) -> float:
        return frame * self.spacing

    def release(self) -> None:
        self.calls.append("release")


def file(count: int) -> Scripted:
    """A source of `count` frames, each with its number in its first pixel."""
    return Scripted(lambda i: numbered(i) if i < count else None, live=False)


def numbered(i: int) -> Any:
    pixels = PIXELS.copy()
    pixels.flat[:2] = divmod(i, 256)
    return pixels


def number(frame: Frame) -> int:
    high, low = (int(value) for value in frame.pixels.flat[:2])
    return 256 * high + low


def drain(pipeline: "Pipeline[Any]") -> List[Any]:
    results = []
    while not pipeline.results.finished:
        result = pipeline.results.get(WAIT)
        if result is not None:
            results.append(result)
    return results


class Gate:
    """Work that waits at a gate; `reached` is set when it first does."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, frame: Frame) -> Tuple[int, int]:
        self.reached.set()
        assert self.open.wait(WAIT)
        return frame.number, number(frame)


def test_every_frame_of_a_file_is_worked_on_in_order() -> None:
    source = file(300)
    with Pipeline(source, lambda frame: (frame.number, number(frame))) as pipeline:
        assert drain(pipeline) == [(i, i) for i in range(300)]
        pipeline.raise_if_broken()
    assert (pipeline.captured.count, pipeline.worked.count, pipeline.dropped) == (300, 300, 0)
    assert (pipeline.ended, pipeline.stuck) == (True, False)
    assert source.calls == ["open", "release"]


def test_a_camera_does_not_wait_for_slow_work_which_then_gets_the_newest_frame() -> None:
    gate, many, enough = Gate(), threading.Event(), threading.Event()

    def script(i: int) -> Optional[Any]:
        if i == 1:
            assert gate.reached.wait(WAIT)  # the first frame is being worked on
        if i == 100:
            many.set()  # 99 more were handed over meanwhile
            assert enough.wait(WAIT)
            return None
        return numbered(i)

    with Pipeline(Scripted(script, live=True), gate) as pipeline:
        assert many.wait(WAIT)
        assert pipeline.newest_frame is not None
        assert (pipeline.newest_frame.number, pipeline.dropped) == (99, 98)
        assert pipeline.worked.count == 0
        gate.open.set()
        assert [pipeline.results.get(WAIT), pipeline.results.get(WAIT)] == [(0, 0), (99, 99)]
        enough.set()
    assert (pipeline.captured.count, pipeline.worked.count, pipeline.dropped) == (100, 2, 98)


def test_a_put_waits_for_room() -> None:
    handover: "Handover[int]" = Handover(2)
    done: List[int] = []

    def put() -> None:
        for i in range(200):
            assert handover.put(i)
            done.append(i)

    thread = threading.Thread(target=put)
    thread.start()
    for taken in range(200):
        assert len(done) <= taken + 2
        assert handover.get(WAIT) == taken
    thread.join(WAIT)
    assert done == list(range(200))
    assert handover.dropped == 0


def test_a_file_is_read_ahead_by_a_few_frames_only() -> None:
    gate, reads = Gate(), threading.Semaphore(0)

    def script(i: int) -> Optional[Any]:
        reads.release()
        return numbered(i) if i < 50 else None

    with Pipeline(Scripted(script, live=False), gate) as pipeline:
        assert gate.reached.wait(WAIT)
        # One at work, the queue full, one that waits to get in: no read begins beyond these.
        for _ in range(module._AHEAD + 2):
            assert reads.acquire(timeout=WAIT)
        assert not reads.acquire(timeout=0.2)
        gate.open.set()
        assert len(drain(pipeline)) == 50


def test_work_does_not_wait_for_a_display_which_then_gets_the_newest_result() -> None:
    with Pipeline(file(50), number, newest_result=True) as pipeline:
        for thread in pipeline._threads:
            thread.join(WAIT)  # with nobody taking a result
        assert pipeline.worked.count == 50
        assert drain(pipeline) == [49]
    assert pipeline.dropped == 0


def test_work_waits_for_who_wants_every_result() -> None:
    with Pipeline(file(50), number) as pipeline:
        assert pipeline.results.get(WAIT) == 0
        assert drain(pipeline) == list(range(1, 50))


def test_a_display_does_not_wait_for_a_slow_camera() -> None:
    gone_on = threading.Event()

    def script(i: int) -> Optional[Any]:
        if i == 1:
            assert gone_on.wait(WAIT)
            return None
        return numbered(i)

    with Pipeline(Scripted(script, live=True), number, newest_result=True) as pipeline:
        assert pipeline.results.get(WAIT) == 0
        for _ in range(100):  # the second read has not come back, and does not until all are done
            assert pipeline.results.get(0) is None
            assert pipeline.newest_frame is not None
        gone_on.set()


def test_a_file_that_is_shown_is_read_no_faster_than_it_plays() -> None:
    source = file(3)
    source.spacing = 1e6
    with Pipeline(source, number, at_speed=True) as pipeline:
        assert pipeline.results.get(WAIT) == 0
        assert pipeline.results.get(0.2) is None
    assert (pipeline.captured.count, pipeline.stuck) == (2, False)
    source = file(3)
    source.spacing = 1e6
    with Pipeline(source, number) as pipeline:
        assert drain(pipeline) == [0, 1, 2]


def test_a_camera_that_falters_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY", 0.0)

    def script(i: int) -> Optional[Any]:
        return None if i % 3 else numbered(i)

    with Pipeline(Scripted(script, live=True), lambda frame: number(frame) % 3) as pipeline:
        assert [pipeline.results.get(WAIT) for _ in range(5)] == [0] * 5
        pipeline.raise_if_broken()


@pytest.mark.parametrize("frames", [0, 4])
def test_a_camera_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch, frames: int) -> None:
    monkeypatch.setattr(module, "_RETRY", 0.0)
    # The patience with one that has given frames differs from that with one that is starting.
    monkeypatch.setattr(module, "_RUNNING", 0.05 if frames else 1e9)
    monkeypatch.setattr(module, "_STARTING", 1e9 if frames else 0.05)
    source = Scripted(lambda i: numbered(i) if i < frames else None, live=True)

    def wait_until_told(pipeline: "Pipeline[int]") -> None:
        while True:
            pipeline.results.get(0.01)
            pipeline.raise_if_broken()

    with Pipeline(source, number) as pipeline, pytest.raises(DataError) as caught:
        wait_until_told(pipeline)
    assert "scripted" in str(caught.value)
    assert "no frame" in str(caught.value)
    assert source.calls == ["open", "release"]


@pytest.mark.parametrize("live", [True, False])
def test_what_a_source_raises_is_raised_after_the_results_before_it(live: bool) -> None:
    def script(i: int) -> Optional[Any]:
        if i == 3:
            raise DataError("broken")
        return numbered(i)

    source = Scripted(script, live)
    with Pipeline(source, number) as pipeline:
        results = drain(pipeline)
        with pytest.raises(DataError, match="broken"):
            pipeline.raise_if_broken()
    assert results[-1] == 2
    assert live or results == [0, 1, 2]
    assert source.calls == ["open", "release"]
    assert not pipeline.ended


def test_a_source_that_does_not_open_is_not_released() -> None:
    class Closed(Scripted):
        def open(self) -> None:
            raise DataError("closed")

    source = Closed(numbered, live=True)
    with Pipeline(source, number) as pipeline:
        assert drain(pipeline) == []
        with pytest.raises(DataError, match="closed"):
            pipeline.raise_if_broken()
    assert source.calls == []


@pytest.mark.parametrize("live", [True, False])
def test_what_work_raises_is_raised_and_ends_the_reading(live: bool) -> None:
    def work(frame: Frame) -> int:
        if frame.number >= 2:
            raise ModelError("not finite")
        return frame.number

    source = Scripted(numbered, live)  # without an end
    with Pipeline(source, work) as pipeline:
        results = drain(pipeline)
        with pytest.raises(ModelError, match="not finite"):
            pipeline.raise_if_broken()
        for thread in pipeline._threads:
            thread.join(WAIT)
            assert not thread.is_alive()
    assert set(results) <= {0, 1}
    assert source.calls == ["open", "release"]


def test_a_driver_that_does_not_come_back_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENDING", 0.1)
    reading, released = threading.Event(), threading.Event()

    def script(_: int) -> Optional[Any]:
        reading.set()
        assert released.wait(WAIT)
        return None

    source = Scripted(script, live=True)
    with Pipeline(source, number) as pipeline:
        assert reading.wait(WAIT)
    assert pipeline.stuck
    assert source.calls == ["open"]
    released.set()
    monkeypatch.setattr(module, "_ENDING", WAIT)
    pipeline.stop()
    assert not pipeline.stuck
    assert source.calls == ["open", "release"]


def test_stopping_frees_who_waits() -> None:
    full: "Handover[int]" = Handover(1)
    assert full.put(1)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(full.put(2)))]
    threads[0].start()
    full.discard()
    threads[0].join(WAIT)
    assert answers == [False]
    assert full.finished
    assert full.get() is None
    empty: "Handover[int]" = Handover(1)
    threads = [threading.Thread(target=lambda: answers.append(empty.get() is None))]
    threads[0].start()
    empty.close()
    threads[0].join(WAIT)
    assert answers == [False, True]


def test_what_was_put_before_the_close_can_be_got() -> None:
    handover: "Handover[int]" = Handover(3)
    assert handover.put(1)
    assert handover.put(2)
    handover.close()
    assert not handover.put(3)
    assert not handover.finished
    assert [handover.get(), handover.get(), handover.get()] == [1, 2, None]
    assert handover.finished


def test_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter()
    now = [50.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    meter.tick()
    assert (meter.count, meter.rate, meter.recent) == (1, 0.0, 0.0)
    for _ in range(100):
        now[0] += 0.5
        meter.tick()
    assert (meter.count, meter.rate, meter.recent) == (101, 2.0, 2.0)
    for _ in range(100):
        now[0] += 0.125
        meter.tick()
    assert meter.recent == 8.0
    assert meter.rate == pytest.approx(200 / 62.5)

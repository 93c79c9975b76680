"""Classifies the frames of a camera or a video: shows them in a window, or prints JSON lines."""

import json
import time
from typing import Any, Dict, List, NamedTuple, Optional

from runtime.console import commandline
from runtime.console.classification import Classification, as_json, classify
from runtime.console.signals import StopRequest
from runtime.core.errors import DataError
from runtime.core.session import Session
from runtime.video.display import Window
from runtime.video.pipeline import Frame, Pipeline
from runtime.video.sources import Source, to_image

_POLL = 0.1  # seconds between two looks at what else there is to react to


class Result(NamedTuple):
    """A frame's number and time stamp, its classes, and how many frames were dropped by then."""

    number: int
    seconds: float
    classification: Classification
    dropped: int


def run(session: Session, source: Source, window: Optional[Window], top_k: int) -> int:
    """Classifies until the source ends or the user stops it, prints a summary line on stderr, and
    returns the command's exit code.

    Frames are shown in `window`, or without one printed as JSON, one a line. Raises what `show` of
    either raises, and ModelError when the network fails.
    """

    def work(frame: Frame) -> Result:
        start = time.perf_counter()
        classification = classify(session, to_image(frame.pixels), top_k, start)
        return Result(frame.number, frame.seconds, classification, pipeline.dropped)

    shown = window is not None
    pipeline = Pipeline(source, work, newest_result=shown, at_speed=shown)
    with StopRequest() as stop:
        try:
            with pipeline:
                if window is None:
                    _print(pipeline, stop)
                else:
                    _show(pipeline, window, stop)
        except DataError as error:
            commandline.complain(str(error))
            return commandline.SOME_FAILED if pipeline.worked.count else commandline.BAD_INPUT
        finally:
            if window is not None:
                window.close()
            _sum_up(pipeline, source)
    return commandline.FINE


def _print(pipeline: "Pipeline[Result]", stop: StopRequest) -> None:
    while not (stop.requested or pipeline.results.finished):
        result = pipeline.results.get(_POLL)
        if result is not None:
            commandline.show(json.dumps(_as_json(result)))
        pipeline.raise_if_broken()
    pipeline.raise_if_broken()


def _as_json(result: Result) -> Dict[str, Any]:
    record = {"frame": result.number, "time_s": result.seconds, "dropped": result.dropped}
    return dict(record, **as_json(result.classification))


def _show(pipeline: "Pipeline[Result]", window: Window, stop: StopRequest) -> None:
    """Shows the newest frame with the newest result, which may belong to an older frame: a slow
    network does not hold up the picture."""
    frame: Optional[Frame] = None
    result: Optional[Result] = None
    while not (stop.requested or pipeline.results.finished) and window.keeps_open():
        newer = pipeline.results.get(0 if frame else _POLL)
        changed = newer is not None or pipeline.newest_frame is not frame
        frame, result = pipeline.newest_frame, newer or result
        if changed and frame is not None:
            window.show(frame.pixels, _lines(pipeline, result))
        pipeline.raise_if_broken()
    pipeline.raise_if_broken()


def _lines(pipeline: "Pipeline[Result]", result: Optional[Result]) -> List[str]:
    lines = [
        "capture {:.1f} frames/s, inference {:.1f} frames/s".format(
            pipeline.captured.recent, pipeline.worked.recent
        )
    ]
    if result is not None:
        lines += [
            "{:5.1f} % {}".format(100 * prediction.probability, prediction.label)
            for prediction in result.classification.predictions
        ]
    return lines


def _sum_up(pipeline: "Pipeline[Result]", source: Source) -> None:
    captured, worked = pipeline.captured, pipeline.worked
    parts = [
        "{} frames read, {:.1f} a second".format(captured.count, captured.rate),
        "{} classified, {:.1f} a second".format(worked.count, worked.rate),
        "{} dropped".format(pipeline.dropped),
    ]
    if pipeline.ended and captured.count < source.announced:
        parts.append("the file announces {} frames: is it complete?".format(source.announced))
    if captured.count:
        commandline.remark("{}: {}".format(source.name, "; ".join(parts)))
    if pipeline.stuck:
        commandline.remark("{}: does not react, and is left unclosed".format(source.name))
        commandline.leave_at_once()

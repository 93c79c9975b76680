"""Times runs of the network, for any length of time, in memory that does not grow."""

import argparse
import gc
import json
import re
import time
from typing import Mapping, NamedTuple, Optional

from runtime.console import commandline
from runtime.console.latency import Latencies
from runtime.console.progress import Progress, TimedProgress
from runtime.console.signals import StopRequest
from runtime.core.arrays import AnyArray
from runtime.core.session import Session

Inputs = Mapping[str, AnyArray]

_WARM_UP_RUNS = 5
_UNITS = {"s": 1, "min": 60, "h": 3600}


class Length(NamedTuple):
    """How long to measure: a number of runs, or, where that is None, a number of seconds."""

    runs: Optional[int]
    seconds: int = 0


def length(text: str) -> Length:
    """An argparse type: runs, as in 500, or a time, as in 30s, 10min and 1h."""
    found = re.fullmatch(r"0*([1-9]\d*)(s|min|h)?", text)
    if found is None:
        raise argparse.ArgumentTypeError(
            "{!r} is neither a number of runs nor a time like 30s, 10min or 1h".format(text)
        )
    number, unit = int(found.group(1)), found.group(2)
    return Length(None, number * _UNITS[unit]) if unit else Length(number)


def run(session: Session, inputs: Inputs, name: str, wanted: Length, as_json: bool) -> None:
    """Measures and shows the figures. When a signal ends it early, they are those of the runs so
    far.

    `inputs` are the network's, by name, of the file called `name`.
    """
    for _ in range(_WARM_UP_RUNS):
        session.run(inputs)
    # The garbage collector goes through what loading left now, and not in the middle of a run.
    gc.collect()
    with StopRequest() as stop:
        latencies = _measure(session, inputs, wanted, stop)
        if latencies.count:
            _show(latencies, name, as_json, stop.requested)


def _measure(session: Session, inputs: Inputs, wanted: Length, stop: StopRequest) -> Latencies:
    latencies = Latencies()
    begin = time.perf_counter()
    with _progress(wanted) as progress:
        while not stop.requested:
            start = time.perf_counter()
            session.run(inputs)
            end = time.perf_counter()
            latencies.add(1e3 * (end - start))
            progress.advance()
            if latencies.count == wanted.runs or (
                wanted.runs is None and end - begin >= wanted.seconds
            ):
                break
    return latencies


def _progress(wanted: Length) -> Progress:
    if wanted.runs is None:
        return TimedProgress("benchmark", wanted.seconds, "run")
    return Progress("benchmark", wanted.runs, "run")


def _show(latencies: Latencies, name: str, as_json: bool, interrupted: bool) -> None:
    runs, figures = latencies.count, latencies.figures()
    if as_json:
        figures_of = dict(figures, file=name, runs=runs, interrupted=interrupted)
        commandline.show(json.dumps({"benchmark": figures_of}))
        return
    end = ", then interrupted" if interrupted else ""
    commandline.show("{} runs of the network on {}, one image a run{}:".format(runs, name, end))
    commandline.show(
        "  median {median_ms:.2f} ms, p90 {p90_ms:.2f} ms, p99 {p99_ms:.2f} ms, "
        "min {min_ms:.2f} ms, {images_per_second:.1f} images/s".format(**figures)
    )

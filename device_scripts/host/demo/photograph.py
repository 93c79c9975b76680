"""A photograph's classes and times, by the float and the integer model side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import runtime
from runtime.core.arrays import FloatArray
from runtime.core.images import open_image
from runtime.core.session import Session, softmax

_CLASSES = 5
_RUNS = 30


def side_by_side(photograph: Path, float_file: Path, integer_file: Path) -> Iterator[str]:
    """The float model's five best classes with both models' probabilities, then both's times."""
    with runtime.load(float_file) as first, runtime.load(integer_file) as second:
        sessions = (first, second)
        probabilities = [softmax(s.run(_prepared(s, photograph))[0]) for s in sessions]
        labels = first.metadata.labels
        best = [
            p.class_index for p in first.classify([open_image(str(photograph), "")], _CLASSES)[0]
        ]
        width = max(len("pre-processing"), *(len(labels[i]) for i in best))
        yield f"  {'':{width}}  {'float':>8}  {'int8':>8}"
        for i in best:
            cells = [f"{100 * p[i]:6.1f} %" for p in probabilities]
            yield f"  {labels[i]:{width}}  " + "  ".join(cells)
        preparing = _medians_ms([partial(_prepared, s, photograph) for s in sessions])
        running = _medians_ms([partial(s.run, _prepared(s, photograph)) for s in sessions])
        yield f"  {'pre-processing':{width}}  " + "  ".join(f"{ms:5.2f} ms" for ms in preparing)
        yield (
            f"  {'inference':{width}}  "
            + "  ".join(f"{ms:5.2f} ms" for ms in running)
            + f"    medians of {_RUNS} warm runs"
        )


def _prepared(session: Session, photograph: Path) -> FloatArray:
    return session.prepare([open_image(str(photograph), photograph.name)])


def _medians_ms(contestants: Sequence[Callable[[], object]]) -> list[float]:
    """The median of each one's runs, in ms; they run by turns, the first turn uncounted."""
    times: list[list[float]] = [[] for _ in contestants]
    for turn in range(_RUNS + 1):
        for work, own in zip(contestants, times, strict=True):
            start = time.perf_counter()
            work()
            if turn > 0:
                own.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(own) for own in times]

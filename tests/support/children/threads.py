"""Runs sessions from eight threads at a time, each compared with a lone run of the same input:
`python -m tests.support.children.threads MODEL LIBRARY RUNS COLD [THREADS]`. Runs on Python 3.6.

Prints as JSON how many of RUNS runs of one session gave something else, and how many of the first
runs of COLD sessions, which nobody has warmed up. THREADS are those of a single run.
"""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Optional

import numpy as np

import runtime
from runtime.engines.onnxruntime.backend import OnnxRuntimeSession

CALLERS = 8

Compare = Callable[[Any, int, int], bool]


def draw_inputs(session: Any) -> Dict[bytes, Any]:
    """An input for each caller, the last of two images, by what a lone run of it gives.

    No two give the same: what one run took from another's memory would then be right.
    """
    rng = np.random.default_rng()
    shape = session.metadata.input_size
    inputs = {}  # type: Dict[bytes, Any]
    while len(inputs) < CALLERS:
        x = rng.normal(size=(1 + len(inputs) // (CALLERS - 1), *shape)).astype(np.float32)
        inputs[session.run(x).tobytes()] = x
    return inputs


def lone_runs(session: Any) -> Compare:
    """Whether run `i` of a caller, each of which goes through all inputs, gives what a run of the
    same input alone does."""
    expected, inputs = zip(*draw_inputs(session).items())

    def compare(session: Any, caller: int, i: int) -> bool:
        k = (caller + i) % CALLERS
        return bool(session.run(inputs[k]).tobytes() == expected[k])

    return compare


def at_once(session: Any, compare: Compare, runs: int) -> List[bool]:
    """What `runs` comparisons by the callers at a time tell."""
    start = threading.Barrier(CALLERS)

    def calls(caller: int) -> List[bool]:
        start.wait(timeout=60)
        return [compare(session, caller, i) for i in range(runs // CALLERS)]

    with ThreadPoolExecutor(CALLERS) as pool:
        return [same for caller in pool.map(calls, range(CALLERS)) for same in caller]


def report(path: str, library: str, runs: int, cold: int, threads: Optional[int]) -> Dict[str, int]:
    session = runtime.load(path, library, threads)
    compare = lone_runs(session)
    warm = at_once(session, compare, runs)
    OnnxRuntimeSession.warm_up = lambda self: None  # type: ignore[method-assign]
    first = []  # type: List[bool]
    for _ in range(cold):
        first += at_once(runtime.load(path, library, threads), compare, CALLERS)
    return {
        "runs": len(warm), "different": warm.count(False),
        "first": len(first), "first different": first.count(False),
    }  # fmt: skip


if __name__ == "__main__":
    model, library = sys.argv[1:3]
    runs, cold = map(int, sys.argv[3:5])
    threads = int(sys.argv[5]) if len(sys.argv) > 5 else None
    print(json.dumps(report(model, library, runs, cold, threads)))

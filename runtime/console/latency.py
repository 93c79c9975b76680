"""The times of any number of runs, kept in memory that does not grow with their number."""

import math
from typing import Dict

import numpy as np

_SHORTEST, _LONGEST = 1e-3, 1e6  # ms; what lies outside is counted at the end of the range
_STEP = math.log(1.001)


class Latencies:
    """A histogram with bins of 0.1 % width: percentiles are exact to that width, all other figures
    are exact."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0.0
        self._min = math.inf
        self._max = 0.0
        # The bins are ones first, which makes their memory resident now. Memory that is only
        # allocated as zeros becomes resident while runs are timed.
        self._bins = np.ones(self._bin(_LONGEST) + 1, dtype=np.int64)
        self._bins[:] = 0

    def add(self, ms: float) -> None:
        """Counts a run that took `ms` milliseconds."""
        self.count += 1
        self._sum += ms
        self._min = min(self._min, ms)
        self._max = max(self._max, ms)
        self._bins[self._bin(ms)] += 1

    def percentile(self, percent: float) -> float:
        """The time, in ms, that `percent` % of the runs did not exceed. There has to be a run."""
        rank = max(1, math.ceil(self.count * percent / 100))
        index = int(np.searchsorted(np.cumsum(self._bins), rank))
        middle = _SHORTEST * math.exp((index + 0.5) * _STEP)
        return min(max(middle, self._min), self._max)

    def figures(self) -> Dict[str, float]:
        """Median, 90th and 99th percentile and minimum (ms), and the runs a second."""
        return {
            "median_ms": self.percentile(50),
            "p90_ms": self.percentile(90),
            "p99_ms": self.percentile(99),
            "min_ms": self._min,
            "images_per_second": 1e3 * self.count / self._sum,
        }

    def _bin(self, ms: float) -> int:
        return int(math.log(min(max(ms, _SHORTEST), _LONGEST) / _SHORTEST) / _STEP)

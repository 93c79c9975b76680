"""Times several sessions by turns, so that whatever disturbs one disturbs all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]

Seconds = npt.NDArray[np.float64]

ROUNDS = 15
ROUND_SECONDS = 0.004
"""The least time of a turn, against which the clock and the call from Python are negligible."""


class Contestant(Protocol):
    """What takes part in a race."""

    def seconds(self) -> float:
        """The seconds of one run, as the mean of a turn."""


class Runner:
    """A model in ONNX Runtime, its input and output bound to memory once."""

    def __init__(self, model: bytes | Path, library: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Otherwise the threads of the other sessions would go on spinning while this one runs.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.register_custom_ops_library(str(library))
        source = model if isinstance(model, bytes) else str(model)
        self._session = onnxruntime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"]
        )
        self._binding = self._session.io_binding()
        rng = np.random.default_rng()
        argument = self._session.get_inputs()[0]
        shape = [d if isinstance(d, int) else 1 for d in argument.shape]
        if argument.type == "tensor(uint8)":
            x: npt.NDArray[np.generic] = rng.integers(0, 256, shape, np.uint8)
        else:
            x = rng.normal(size=shape).astype(np.float32)
        self._x = onnxruntime.OrtValue.ortvalue_from_numpy(x)
        self._binding.bind_ortvalue_input(argument.name, self._x)
        self._binding.bind_output(self._session.get_outputs()[0].name)
        self.repeats = 1
        self.seconds()
        self.repeats = max(1, round(ROUND_SECONDS / min(self.seconds() for _ in range(3))))

    def seconds(self) -> float:
        """The seconds of one run, as the mean of a turn."""
        start = time.perf_counter()
        for _ in range(self.repeats):
            self._session.run_with_iobinding(self._binding)
        return (time.perf_counter() - start) / self.repeats


@dataclass(frozen=True)
class Times:
    """The times of one contestant in seconds, one for each turn."""

    seconds: Seconds

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, relative to the median."""
        low, high = np.percentile(self.seconds, [25, 75])
        return float(high - low) / 2 / self.median

    def ratio(self, peer: Times) -> float:
        """The peer's time over ours: the median of the ratios by turn, above 1 where ours is
        faster."""
        return float(np.median(peer.seconds / self.seconds))


def race(runners: Mapping[str, Contestant], rounds: int = ROUNDS) -> dict[str, Times]:
    """Times every contestant once in each round, in another order each time."""
    rng = np.random.default_rng()
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name in rng.permutation(list(runners)):
            taken[str(name)].append(runners[str(name)].seconds())
    return {name: Times(np.array(seconds)) for name, seconds in taken.items()}

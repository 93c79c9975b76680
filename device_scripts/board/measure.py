"""Times models by turns, and keeps for each turn the power and the clocks that were sampled during
it."""

import statistics
import time
from typing import Any, List, NamedTuple, Optional

from device_scripts.board import system
from device_scripts.board.tegrastats import Sample, Sampler

_WARM_UP_RUNS = 3  # of each turn: the one before had the caches


class Contestant(NamedTuple):
    """A model as it is run. `processor` is CPU or GPU; `threads` is 0 on the GPU."""

    name: str
    file: str
    processor: str
    threads: int
    session: Any
    images: Any


class Turn(NamedTuple):
    """Several runs in a row: the time of each (ms), the span of all (seconds), the samples of that
    span, and what was slowing the board down at its end."""

    times_ms: List[float]
    seconds: float
    samples: List[Sample]
    throttles: List[str]
    zones: List[system.Zone]


class Result(NamedTuple):
    """All turns of a contestant. Power is in mW, energy in J, clocks are in MHz, temperatures in
    degrees Celsius.

    The energy is the mean power of a turn's samples times its duration, summed over the turns; None
    without samples.
    """

    contestant: Contestant
    turns: List[Turn]

    @property
    def times_ms(self) -> List[float]:
        return [time_ms for turn in self.turns for time_ms in turn.times_ms]

    @property
    def runs(self) -> int:
        return len(self.times_ms)

    @property
    def seconds(self) -> float:
        return sum(turn.seconds for turn in self.turns)

    @property
    def power_mw(self) -> Optional[float]:
        # A turn counts by its duration, however many samples were taken in it.
        read = [(turn.seconds, powers(turn.samples)) for turn in self.turns]
        known = [(seconds, statistics.mean(found)) for seconds, found in read if found]
        if not known:
            return None
        return sum(s * power for s, power in known) / sum(s for s, _ in known)

    @property
    def energy_per_image_j(self) -> Optional[float]:
        power = self.power_mw
        return None if power is None else power / 1e3 * self.seconds / self.runs

    @property
    def clock_mhz(self) -> Optional[float]:
        """The median clock of the processor that it ran on."""
        gpu = self.contestant.processor == "GPU"
        found = [s.gpu_mhz if gpu else s.cpu_mhz for turn in self.turns for s in turn.samples]
        known = [clock for clock in found if clock is not None]
        return statistics.median(known) if known else None

    @property
    def hottest(self) -> Optional[float]:
        found = [t for turn in self.turns for s in turn.samples for t in s.temperatures.values()]
        found += [zone.temperature for turn in self.turns for zone in turn.zones]
        return max(found) if found else None


def powers(samples: List[Sample]) -> List[float]:
    """The powers of the samples that have one, in mW."""
    return [sample.power_mw for sample in samples if sample.power_mw is not None]


def idle_power(sampler: Sampler, seconds: float) -> Optional[float]:
    """The mean power of the board while it waits, in mW."""
    start = time.perf_counter()
    time.sleep(seconds)
    found = powers(sampler.between(start, time.perf_counter()))
    return statistics.mean(found) if found else None


def take_turn(contestant: Contestant, sampler: Sampler, runs: int, least_seconds: float) -> Turn:
    """Times at least `runs` runs of one image, and as many as it takes for them to last
    `least_seconds`."""
    session, images = contestant.session, contestant.images
    for _ in range(_WARM_UP_RUNS):
        session.run(images)
    times: List[float] = []
    start = now = time.perf_counter()
    while len(times) < runs or now - start < least_seconds:
        before = now
        session.run(images)
        now = time.perf_counter()
        times.append(1e3 * (now - before))
    return Turn(
        times, now - start, sampler.between(start, now), system.active_throttles(),
        system.thermal_zones(),
    )  # fmt: skip

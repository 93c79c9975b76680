"""Times models by turns, each turn with the power and the clocks of its time."""

import statistics
import time
from typing import Any, List, NamedTuple, Optional

from device_scripts.board import system
from device_scripts.board.tegrastats import Sample, Sampler

_WARM_UP_RUNS = 3  # of each turn: the one before had the caches


class Contestant(NamedTuple):
    """A model as it is run. `processor` is CPU or GPU; `threads` 0 on the GPU."""

    name: str
    file: str
    processor: str
    threads: int
    session: Any
    images: Any


class Turn(NamedTuple):
    """Runs in a row: what each took (ms), the span of them all (seconds), what was sampled in it,
    and what was slowing the board down at its end."""

    times_ms: List[float]
    seconds: float
    samples: List[Sample]
    throttles: List[str]
    zones: List[system.Zone]


class Result(NamedTuple):
    """All turns of a contestant; power in mW, energy in J, clocks in MHz, degrees Celsius.

    Energy is the mean power of the turns' samples times the turns' time; None without samples.
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
        # A turn weighs as much as it lasts, however many samples fell into it.
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
        """The median clock of what it ran on."""
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
    """At least `runs` timed runs of one image, and as many as last for `least_seconds`."""
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

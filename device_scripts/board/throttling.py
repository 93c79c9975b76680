"""What kept a board from its full speed while it was measured."""

import statistics
from typing import List, Optional, Sequence

from device_scripts.board import system
from device_scripts.board.measure import Result

_NEAR = 3.0  # degrees Celsius below the temperature at which a zone slows down
_FULL = 0.95  # of a clock's limit: less than this is a clock that was lowered
_SLOWER = 1.10  # the last turn's median over the first's


def of_result(result: Result) -> List[str]:
    """What slowed this contestant down, one line for each reason; empty where nothing did."""
    told = []
    throttles = sorted({name for turn in result.turns for name in turn.throttles})
    if throttles:
        told.append("the kernel throttled it ({})".format(", ".join(throttles)))
    told += _heat(result)
    told += _clock(result)
    first, last = (statistics.median(result.turns[i].times_ms) for i in (0, -1))
    if last > _SLOWER * first:
        told.append("it was {:.0f} % slower at the end".format(100 * (last / first - 1)))
    return told


def _heat(result: Result) -> List[str]:
    zones = [zone for turn in result.turns for zone in turn.zones if zone.limit is not None]
    near = [zone for zone in zones if zone.temperature >= _limit(zone) - _NEAR]
    if not near:
        return []
    worst = max(near, key=lambda zone: zone.temperature - _limit(zone))
    return [
        "{} was at {:.1f} C, its limit is {:.1f} C".format(
            worst.name, worst.temperature, _limit(worst)
        )
    ]


def _limit(zone: system.Zone) -> float:
    return float("inf") if zone.limit is None else zone.limit


def _clock(result: Result) -> List[str]:
    gpu = result.contestant.processor == "GPU"
    limit = system.gpu_limit_mhz() if gpu else system.cpu_limit_mhz()
    clock = result.clock_mhz
    if limit is None or clock is None or clock >= _FULL * limit:
        return []
    return ["the {} ran at {:.0f} of {:.0f} MHz".format(result.contestant.processor, clock, limit)]


def unknown(results: Sequence[Result]) -> List[str]:
    """A line for each kind of processor whose clock was not seen: it may have been lowered."""
    told = []
    for processor in ("CPU", "GPU"):
        own = [result for result in results if result.contestant.processor == processor]
        sampled = any(turn.samples for result in own for turn in result.turns)
        if sampled and all(result.clock_mhz is None for result in own):
            told.append(
                "the {0}'s clock is not known, nor whether it was lowered: tegrastats shows it to "
                "root only (sudo -E device_scripts/benchmark.sh)".format(processor)
            )
    return told


def of_board() -> List[str]:
    """What the board's settings prevent, one line for each."""
    told = []
    mode: Optional[system.PowerMode] = system.power_mode()
    if mode is not None and not mode.name.startswith("MAXN"):
        told.append("power mode {}, which is not the fastest: sudo nvpmodel -m 0".format(mode.name))
    limit, top = system.cpu_limit_mhz(), system.cpu_top_mhz()
    if limit is not None and top is not None and limit < _FULL * top:
        told.append("the CPU's clock is held at {:.0f} of {:.0f} MHz".format(limit, top))
    return told

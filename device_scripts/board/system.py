"""Facts about the board from its files and commands; an unknown one is None or empty.

`SHIFTADD_ROOT_PREFIX` names a folder that stands in for the file system's root.
"""

import glob
import os
import re
import subprocess
from typing import Dict, List, NamedTuple, Optional, Sequence

_PREFIX = os.environ.get("SHIFTADD_ROOT_PREFIX", "")
_COMMAND_SECONDS = 10
# The first is no sensor, since it always shows the same value; the second does not belong to the
# processor.
_NO_SENSORS = ("PMIC-Die", "iwlwifi")


class PowerMode(NamedTuple):
    """The mode that nvpmodel is set to: a name such as MAXN or 5W, and its number where that is
    known."""

    name: str
    number: Optional[int]


class Zone(NamedTuple):
    """A thermal zone; degrees Celsius. `limit` is the lowest temperature at which it slows down."""

    name: str
    temperature: float
    limit: Optional[float]


def read(*parts: str) -> str:
    """A file's text without the white space and NULs around it; "" where it cannot be read."""
    try:
        with open(_below(*parts), "rb") as file:
            return file.read().decode("utf-8", "replace").strip("\0 \t\r\n")
    except OSError:
        return ""


def _below(*parts: str) -> str:
    return os.path.join(_PREFIX + "/", *(part.lstrip("/") for part in parts))


def matches(pattern: str) -> List[str]:
    """The paths that fit a pattern such as /sys/class/thermal/thermal_zone*, without the prefix."""
    return sorted(path[len(_PREFIX) :] for path in glob.glob(_below(pattern)))


def output_of(command: Sequence[str]) -> str:
    """What a command prints on stdout; "" where it is missing, fails or does not end."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def board_name() -> str:
    """The name of the board in the device tree, such as NVIDIA Jetson Nano Developer Kit."""
    return read("/proc/device-tree/model")


def l4t_release() -> str:
    """The release of Linux for Tegra, such as 32.7.1."""
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+),", read("/etc/nv_tegra_release"))
    return "{}.{}".format(*found.groups()) if found else ""


def power_mode() -> Optional[PowerMode]:
    """The power mode that `nvpmodel -q` prints."""
    found = re.search(
        r"NV Power Mode: *(\S+)(?:\s+(\d+)\s*$)?", output_of(["nvpmodel", "-q"]), re.M
    )
    if found is None:
        return None
    return PowerMode(found.group(1), int(found.group(2)) if found.group(2) else None)


def online_cores() -> Optional[int]:
    """How many CPU cores are switched on; a power mode may have some off."""
    ranges = re.findall(r"(\d+)(?:-(\d+))?", read("/sys/devices/system/cpu/online"))
    return sum(int(last or first) - int(first) + 1 for first, last in ranges) or None


def cpu_limit_mhz() -> Optional[float]:
    """The clock that the CPU may reach now."""
    return _mhz("/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", 1e3)


def cpu_top_mhz() -> Optional[float]:
    """The clock that the CPU can reach in its fastest power mode."""
    return _mhz("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", 1e3)


def gpu_limit_mhz() -> Optional[float]:
    """The clock that the GPU may reach now."""
    paths = matches("/sys/class/devfreq/*gpu*/max_freq") + matches(
        "/sys/class/devfreq/*gv11b/max_freq"
    )
    return _mhz(paths[0], 1e6) if paths else None


def _mhz(path: str, units: float) -> Optional[float]:
    text = read(path)
    return int(text) / units if text.isdigit() else None


def thermal_zones() -> List[Zone]:
    """The thermal zones of the processor and its surroundings."""
    zones = []
    for folder in matches("/sys/class/thermal/thermal_zone*"):
        name = read(folder, "type")
        temperature = _celsius(read(folder, "temp"))
        if name not in _NO_SENSORS and temperature is not None:
            zones.append(Zone(name, temperature, _limit(folder)))
    return zones


def _limit(folder: str) -> Optional[float]:
    limits = []
    for path in matches(folder + "/trip_point_*_type"):
        # A trip of the type "active" switches a fan.
        if read(path) != "active":
            limits.append(_celsius(read(path[: -len("type")] + "temp")))
    known = [limit for limit in limits if limit is not None and limit > 0]
    return min(known) if known else None


def _celsius(millidegrees: str) -> Optional[float]:
    try:
        return int(millidegrees) / 1e3
    except ValueError:
        return None


def active_throttles() -> List[str]:
    """The kernel's cooling devices that are slowing something down now, fans left out."""
    active = []
    for folder in matches("/sys/class/thermal/cooling_device*"):
        name = read(folder, "type")
        if "fan" not in name and read(folder, "cur_state") not in ("", "0"):
            active.append(name)
    return active


def describe() -> Dict[str, object]:
    """What a report says about the board."""
    mode = power_mode()
    return {
        "board": board_name(),
        "l4t": l4t_release(),
        "power_mode": mode.name if mode else None,
        "power_mode_number": mode.number if mode else None,
        "cores_online": online_cores(),
        "cpu_limit_mhz": cpu_limit_mhz(),
        "cpu_top_mhz": cpu_top_mhz(),
        "gpu_limit_mhz": gpu_limit_mhz(),
    }

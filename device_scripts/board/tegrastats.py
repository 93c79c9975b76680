"""Samples power, clocks and temperatures with NVIDIA's `tegrastats` while something else runs."""

import ctypes
import os
import pty
import re
import signal
import subprocess
import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional

# Of the tools on a Jetson Nano this costs a few percent of a core; more often would show.
INTERVAL = 0.2  # seconds

_CHUNK = 4096
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1

_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?!\S)")
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z][A-Za-z0-9_]*)@(-?[\d.]+)C(?!\S)")
_CPU = re.compile(r"CPU \[([^\]]*)\]")
_GPU = re.compile(r"GR3D_FREQ \d+%@\[?(\d+)")
# What the board takes in. The Nano's, and those of TX2, Xavier NX, Orin NX and Orin Nano.
_INPUTS = ("POM_5V_IN", "VDD_IN")
# AGX Xavier and AGX Orin have no sensor at their input, but one at each of its branches; memory's,
# on the AGX Orin, is a branch of the 5 V rail.
_BRANCHES = (
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
)
# A constant that stands where no sensor is; and a sensor that is not of the processor.
_NO_SENSORS = ("PMIC", "iwlwifi")


class Sample(NamedTuple):
    """One line. `seconds` as time.perf_counter has it, power in mW, clocks in MHz, degrees Celsius.

    `cpu_mhz` is that of the fastest core.
    """

    seconds: float
    power_mw: Optional[float]
    cpu_mhz: Optional[float]
    gpu_mhz: Optional[float]
    temperatures: Dict[str, float]


def parse(line: str, seconds: float) -> Sample:
    """The sample of a line of tegrastats; what the line does not have is None."""
    cores = _CPU.search(line)
    clocks = [float(clock) for clock in re.findall(r"%@(\d+)", cores.group(1))] if cores else []
    gpu = _GPU.search(line)
    return Sample(
        seconds=seconds,
        power_mw=_power({name: float(power) for name, power in _RAIL.findall(line)}),
        cpu_mhz=max(clocks) if clocks else None,
        gpu_mhz=float(gpu.group(1)) if gpu else None,
        temperatures=_temperatures(line),
    )


def _power(rails: Dict[str, float]) -> Optional[float]:
    for name in _INPUTS:
        if name in rails:
            return rails[name]
    for names in _BRANCHES:
        if all(name in rails for name in names):
            return sum(rails[name] for name in names)
    return None


def _temperatures(line: str) -> Dict[str, float]:
    found = {name: float(value) for name, value in _TEMPERATURE.findall(line)}
    # A sensor that is switched off shows -256.
    return {k: v for k, v in found.items() if k not in _NO_SENSORS and v > -100}


def _die_with_parent() -> None:
    """Has the kernel end this process when the one that started it ends, however it does."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Sampler:
    """`with Sampler() as sampler: ...; sampler.between(start, end)`.

    Where tegrastats is missing, or ends, or tells no power, there are no samples, or none with
    power; `trouble` says it, in a line.
    """

    def __init__(self) -> None:
        self._samples: List[Sample] = []
        self._lock = threading.Lock()
        self._process: Any = None
        self._missing = ""

    def __enter__(self) -> "Sampler":
        command = ["tegrastats", "--interval", str(int(1000 * INTERVAL))]
        # A terminal and no pipe: for a pipe it may keep its lines back until there are 4 KiB.
        self._terminal, side = pty.openpty()
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=side, stderr=subprocess.DEVNULL,
                preexec_fn=_die_with_parent,
            )  # fmt: skip
        except OSError as error:
            os.close(self._terminal)
            self._missing = (
                "no power reading: tegrastats, which comes with JetPack, cannot be run: "
                + os.strerror(error.errno or 0)
            )
        else:
            self._thread = threading.Thread(target=self._read, daemon=True)
            self._thread.start()
        finally:
            os.close(side)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._thread.join()
            os.close(self._terminal)

    @property
    def running(self) -> bool:
        """Whether samples can be had."""
        return self._process is not None and self._process.poll() is None

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                chunk = os.read(self._terminal, _CHUNK)
            except OSError:  # how a terminal ends that nobody writes to any more
                return
            if not chunk:
                return
            now = time.perf_counter()
            *lines, rest = (rest + chunk).split(b"\n")
            samples = [parse(line.decode("utf-8", "replace"), now) for line in lines]
            with self._lock:
                self._samples += samples

    def between(self, start: float, end: float) -> List[Sample]:
        """The samples of a span of time."""
        with self._lock:
            return [sample for sample in self._samples if start <= sample.seconds <= end]

    def trouble(self) -> Optional[str]:
        """Why there is no power, in a line; None where there is."""
        if self._missing:
            return self._missing
        with self._lock:
            if any(sample.power_mw is not None for sample in self._samples):
                return None
            if self._samples:
                return "no power reading: tegrastats shows no power of this board"
        return "no power reading: tegrastats printed nothing"

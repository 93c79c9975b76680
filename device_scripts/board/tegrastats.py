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

# At this interval tegrastats takes a few percent of a Jetson Nano's core; sampling more often would
# change what is measured.
INTERVAL = 0.2  # seconds

_CHUNK = 4096
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1

_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?!\S)")
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z][A-Za-z0-9_]*)@(-?[\d.]+)C(?!\S)")
_CPU = re.compile(r"CPU \[([^\]]*)\]")
_GPU = re.compile(r"GR3D_FREQ \d+%@\[?(\d+)")
# The rails that the whole board's power comes in by: the Nano's, and that of TX2, Xavier NX, Orin
# NX and Orin Nano.
_INPUTS = ("POM_5V_IN", "VDD_IN")
# AGX Xavier and AGX Orin have no sensor at their input, but one at each branch of it. On the AGX
# Orin the memory's rail is a branch of the 5 V rail, so it is not added.
_BRANCHES = (
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
)
# The first shows a constant, as no sensor is there; the second is a sensor that does not belong to
# the processor.
_NO_SENSORS = ("PMIC", "iwlwifi")


class Sample(NamedTuple):
    """One line of tegrastats. `seconds` is the time.perf_counter of its arrival; power is in mW,
    clocks are in MHz, temperatures in degrees Celsius.

    `cpu_mhz` is the clock of the fastest core.
    """

    seconds: float
    power_mw: Optional[float]
    cpu_mhz: Optional[float]
    gpu_mhz: Optional[float]
    temperatures: Dict[str, float]


def parse(line: str, seconds: float) -> Sample:
    """The sample in a line of tegrastats; a value that the line lacks is None."""
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
    """Makes the kernel end this process when its parent ends, for whatever reason."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Sampler:
    """`with Sampler() as sampler: ...; sampler.between(start, end)`.

    Where tegrastats is missing or ends there are no samples, and where it shows no power the
    samples have none; `trouble` says so in a line.
    """

    def __init__(self) -> None:
        self._samples: List[Sample] = []
        self._lock = threading.Lock()
        self._process: Any = None
        self._missing = ""

    def __enter__(self) -> "Sampler":
        command = ["tegrastats", "--interval", str(int(1000 * INTERVAL))]
        # It writes to a terminal and not to a pipe, for which it may hold its lines back until
        # there are 4 KiB.
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
        """Whether tegrastats runs and delivers samples."""
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
        """The samples that were taken in a span of time."""
        with self._lock:
            return [sample for sample in self._samples if start <= sample.seconds <= end]

    def trouble(self) -> Optional[str]:
        """Why no power is known, in a line; None where it is known."""
        if self._missing:
            return self._missing
        with self._lock:
            if any(sample.power_mw is not None for sample in self._samples):
                return None
            if self._samples:
                return "no power reading: tegrastats shows no power of this board"
        return "no power reading: tegrastats printed nothing"

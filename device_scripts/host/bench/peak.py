"""The rate at which the processor executes an operator's inner instructions, measured beside the
operator."""

from __future__ import annotations

import ctypes
import tempfile
import time
from pathlib import Path

from device_scripts.host.bench.compiler import compile_shared
from device_scripts.host.bench.instruction_sets import current
from device_scripts.host.bench.timing import ROUND_SECONDS

PEAKS = {
    "Conv": "products",
    "ShiftConv": "products",
    "AdderConv": "distances",
    "QLinearConv": "byte_products",
    "QLinearShiftConv": "byte_products",
    "QLinearAdderConv": "byte_distances",
}
"""The function of peak.cpp that consists of the operator's inner instructions, by operator."""


class Peak:
    """One of peak.cpp's functions as a contestant; its time is that of one term."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self._function = getattr(library, name)
        self._function.restype, self._function.argtypes = ctypes.c_double, [ctypes.c_int64]
        self._steps = 1000
        self.seconds()
        terms = self._function(self._steps)
        self._steps = max(1000, round(ROUND_SECONDS / self.seconds() / terms * self._steps))

    def seconds(self) -> float:
        """The seconds of one term."""
        start = time.perf_counter()
        terms: float = self._function(self._steps)
        return (time.perf_counter() - start) / terms


def build_peaks() -> dict[str, Peak]:
    """The functions of peak.cpp, by name. Raises ShiftAddError where it does not compile."""
    flags = ["-march=native"] if current() == "native" else ["-mavx2", "-mfma"]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "peak.so"
        source = Path(__file__).with_name("peak.cpp")
        # The AVX-512 headers of GCC 12 cause these two warnings.
        quiet = ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]
        compile_shared(source, library, ["-std=c++14", "-O2", *quiet, *flags])
        loaded = ctypes.CDLL(str(library))
    return {name: Peak(loaded, name) for name in sorted(set(PEAKS.values()))}

"""Writes the calibration table as TensorRT's cache, so that a device builds an int8 engine without
data.

TensorRT's public sources and caches that it wrote make the following certain. The text format is
that of runtime/engines/tensorrt/calibration_cache.py. A scale is the largest magnitude of the
tensor's range over 127, and the codes are symmetric around 0 (README of sampleINT8). Tensors have
the names that the ONNX graph gives them. For a tensor without a scale TensorRT warns, and computes
the layers around it in float16 or float32.

It is not certain which versions accept each other's caches, since no TensorRT ran here. The README
says that TensorRT calibrates anew where a cache is incompatible with its version, and not which
are; users report that 10.16 accepts a cache of 10.3, and that 10 refuses one of 8.6. A device
without data cannot calibrate anew. So the header names the version of the device, and
runtime/build_engine.py says where the two differ, and fails where TensorRT refused.
"""

from __future__ import annotations

from pathlib import Path

from calibration.quantization import symmetric_scale
from calibration.table import Table
from runtime.core import files
from runtime.core.errors import ModelError
from runtime.engines.tensorrt.calibration_cache import header, line

XAVIER = "8.2.1"
"""The TensorRT of JetPack 4.6.1 to 4.6.6. JetPack 5.0.2 has 8.4.1, 5.1 has 8.5.2, 6.0 has 8.6.2,
6.1 has 10.3.0."""
# trtexec and the DLAs accept no other method; the scales mean the same in both.
_METHOD = "entropy"


def to_bytes(table: Table, version: str = XAVIER) -> bytes:
    """The ranges of the table as a cache for the TensorRT `version`.

    They were chosen for uint8 with a zero point: a range that is not symmetric, as behind a ReLU,
    leaves some of int8's codes unused.

    Raises ModelError for what is no version, for a range that has no scale, and for a name that a
    line cannot hold.
    """
    lines = [header(version, _METHOD)]
    for name, limits in table.ranges.items():
        lines.append(line(_checked(name), symmetric_scale(name, limits)))
    return ("\n".join(lines) + "\n").encode()


def write_cache(path: Path, table: Table, version: str = XAVIER) -> None:
    """Writes what `to_bytes` makes, all of it or nothing.

    Raises ShiftAddError where it cannot.
    """
    files.replace(path, to_bytes(table, version), "calibration cache")


def _checked(name: str) -> str:
    if len(name.splitlines()) != 1:
        raise ModelError(f"{name!r}: a name of more than one line fits no cache of TensorRT's")
    return name

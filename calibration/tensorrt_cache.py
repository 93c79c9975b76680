"""The calibration table as a cache of TensorRT's: a device builds an int8 engine without data.

Certain, from TensorRT's public sources and from caches that it wrote: the text format
(runtime/engines/tensorrt/calibration_cache.py); a scale is the largest magnitude of the tensor's
range over 127, and the codes are symmetric around 0 (README of sampleINT8); tensors go by the names
that the ONNX graph gives them; for a tensor without a scale TensorRT warns, and
computes the layers around it in float16 or float32.

Not certain, as no TensorRT ran here: which versions take each other's caches. The README has
TensorRT calibrate anew where a cache is incompatible with its version, and does not say which are;
users report that 10.16 takes one of 10.3, and that 10 refuses one of 8.6. On a device without data
nothing comes of calibrating anew: so the header names the version of the device, and
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
"""Of JetPack 4.6.1 to 4.6.6; 5.0.2 has 8.4.1, 5.1 has 8.5.2, 6.0 has 8.6.2, 6.1 has 10.3.0."""
# trtexec and the DLAs take no other; what the scales mean is the same.
_METHOD = "entropy"


def to_bytes(table: Table, version: str = XAVIER) -> bytes:
    """The ranges of the table as a cache for the TensorRT `version`.

    They were chosen for uint8 with a zero point: one that is not symmetric, as behind a ReLU,
    leaves codes of int8 unused.

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

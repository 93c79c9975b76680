"""TensorRT's calibration cache: the int8 scale of every tensor, as lines of text.

    TRT-8201-EntropyCalibration2
    input: 3c010a14

The header names the TensorRT that wrote it, by NV_TENSORRT_VERSION, and the algorithm. A line holds
the name of a tensor and the bits of its float32 scale in hexadecimal, the sign first; an int8 code
q stands for q * scale (TensorRT 8.2.1's README of sampleINT8, and readScalesFromCalibrationCache of
its samples/common/sampleEngines.cpp).
"""

import re
import struct
from typing import Dict, NamedTuple, Tuple

from runtime.core.errors import ModelError, one_line, reason
from runtime.core.files import open_regular

METHODS = {"entropy": "EntropyCalibration2", "minmax": "MinMaxCalibration"}
"""The methods of calibration, and what the header calls them."""
_HEADER = re.compile(r"TRT-(\d+)-(\w+)")
_LINE = re.compile(r"(.+): ([0-9a-f]{1,8})")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(\.\d+)?")


class Cache(NamedTuple):
    """A cache: its file and content, the version and the method that wrote it ("8.2.1", one of
    METHODS), and the scales by tensor."""

    path: str
    content: bytes
    version: str
    method: str
    scales: Dict[str, float]


def header(version: str, method: str) -> str:
    """The first line of a cache of the TensorRT `version`, "8.2.1" or "8.2.1.8", and the method.

    NV_TENSORRT_VERSION is 8201 for 8.2.1 and 100300 for 10.3.0: from 10 on a major version counts
    10000. Raises ModelError for what is no such version.
    """
    parts = _VERSION.fullmatch(version)
    if parts is None:
        raise ModelError(
            "{!r} is no version of TensorRT: three numbers are expected, such as 8.2.1".format(
                version
            )
        )
    major, minor, patch = (int(part) for part in parts.groups()[:3])
    number = major * (1000 if major < 10 else 10000) + minor * 100 + patch
    return "TRT-{}-{}".format(number, METHODS[method])


def line(name: str, scale: float) -> str:
    """The line of a tensor, whose scale float32 holds."""
    return "{}: {}".format(name, struct.pack(">f", scale).hex())


def read(path: str) -> Cache:
    """The cache at `path`. Raises ModelError, naming the file, for what is none."""
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise ModelError(
            "cannot read the calibration cache {}: {}".format(path, reason(error))
        ) from error
    first, *lines = content.decode("utf-8", "replace").splitlines() or [""]
    version, method = _written_by(path, first)
    scales = dict(_scale(path, text) for text in lines if text.strip())
    if not scales:
        raise ModelError("the calibration cache {} holds no scale".format(path))
    return Cache(path, content, version, method, scales)


def _written_by(path: str, first: str) -> Tuple[str, str]:
    found = _HEADER.fullmatch(first.strip())
    if found is None:
        raise ModelError(
            "{} is no calibration cache of TensorRT: it begins with {!r}, and not with a line such "
            "as TRT-8201-EntropyCalibration2 (`make calibrate` writes one beside its table)".format(
                path, one_line(first)[:40]
            )
        )
    number, algorithm = int(found.group(1)), found.group(2)
    for method, name in METHODS.items():
        if name == algorithm:
            return _version(number), method
    raise ModelError(
        "the calibration cache {} is of {}: only those of {} are read".format(
            path, algorithm, " and ".join(METHODS.values())
        )
    )


def _version(number: int) -> str:
    major, rest = divmod(number, 1000 if number < 10000 else 10000)
    return "{}.{}.{}".format(major, *divmod(rest, 100))


def _scale(path: str, text: str) -> Tuple[str, float]:
    found = _LINE.fullmatch(text.strip())
    if found is None:
        raise ModelError(
            "the calibration cache {} is damaged at {!r}: write it again".format(
                path, one_line(text)[:60]
            )
        )
    (scale,) = struct.unpack(">f", bytes.fromhex(found.group(2).rjust(8, "0")))
    return found.group(1), float(scale)

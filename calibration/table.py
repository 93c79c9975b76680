"""The calibration table: the range of every activation, and what it was measured on.

A JSON file. It names the model by the SHA-256 of its file, so that no model is quantized with the
ranges of another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core import files
from runtime.core.errors import ModelError, reason

FORMAT_VERSION = 1
_LAST_CODE = 255
_CALIBRATE = "`make calibrate MODEL=... DATA=...`"


@dataclass(frozen=True)
class Range:
    """The least and the largest value of an activation that its codes are to tell apart."""

    low: float
    high: float


@dataclass(frozen=True)
class Table:
    """What calibration found out about one model.

    Attributes:
        model: its name, from the metadata.
        model_sha256: of the float ONNX file.
        method: how the ranges were chosen.
        samples: images that were run.
        data_sha256: of their names and pixels, in order.
        ranges: by tensor; the graph's input is one of them.
        means: of each channel, float64, over all samples and positions, by tensor; of tensors with
            a channel axis only.
    """

    model: str
    model_sha256: str
    method: str
    samples: int
    data_sha256: str
    ranges: Mapping[str, Range]
    means: Mapping[str, tuple[float, ...]]


def quantization(name: str, limits: Range) -> tuple[np.float32, int]:
    """Scale and zero point of the uint8 codes for the values of the tensor `name`.

    The range is widened to hold 0, which padding and ReLU need exactly:
    `scale = (high - low) / 255`, computed in float64 and rounded once, and
    `zero_point = rint(-low / scale)`, half to even, within 0..255.

    Raises ModelError for a range that is a point, for one that is not finite, and for one whose
    scale, or its reciprocal, float32 cannot hold.
    """
    if not (math.isfinite(limits.low) and math.isfinite(limits.high)):
        raise ModelError(f"{name}: its range is {limits.low}..{limits.high}, which is not finite")
    if limits.low >= limits.high:
        raise ModelError(
            f"{name}: a constant activation, {limits.low:g} whatever the image, has no scale: "
            "remove the layer that makes it from the network, or calibrate with other images"
        )
    low, high = min(limits.low, 0.0), max(limits.high, 0.0)
    with np.errstate(over="ignore", divide="ignore"):
        scale = np.float32((high - low) / _LAST_CODE)
        representable = np.isfinite(scale) and np.isfinite(np.float32(1) / scale)
    if not representable:
        raise ModelError(f"{name}: no float32 is a scale for its range {low:g}..{high:g}")
    zero_point = round(-low / float(scale))
    return scale, min(max(zero_point, 0), _LAST_CODE)


def to_bytes(table: Table) -> bytes:
    """The table as its file holds it. Raises ModelError for a range that `quantization` refuses."""
    head = asdict(table)
    for name in ("ranges", "means"):
        del head[name]
    lines = json.dumps({"format_version": FORMAT_VERSION, **head}, indent=2).splitlines()[1:-1]
    # One line a tensor: its channels' means would take a line each.
    tensors = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(_entry(table, name))}" for name in table.ranges
    )
    text = "\n".join(["{", *lines]) + ',\n  "tensors": {\n' + tensors + "\n  }\n}\n"
    return text.encode()


def _entry(table: Table, name: str) -> dict[str, Any]:
    limits = table.ranges[name]
    scale, zero_point = quantization(name, limits)
    entry = {**asdict(limits), "scale": float(scale), "zero_point": zero_point}
    if name in table.means:
        entry["means"] = table.means[name]
    return entry


def write(path: Path, table: Table) -> None:
    """Writes the table, all of it or nothing. Raises ShiftAddError where it cannot."""
    files.replace(path, to_bytes(table), "calibration table")


def read(path: Path, model_sha256: str) -> Table:
    """The table at `path`, which is to be of the model file with the SHA-256 given.

    Raises ModelError, naming the file, where it is missing, damaged, of another format version, or
    of another model.
    """
    try:
        table = _parsed(path, json.loads(path.read_bytes(), parse_constant=_refuse_constant))
    except OSError as error:
        raise ModelError(f"{path}: cannot read the calibration table: {reason(error)}") from error
    # Recursion: JSON nested without end, or so deep that it can be read, but not shown any more.
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is not JSON of finite numbers: {reason(error)}") from error
    if table.model_sha256 != model_sha256:
        raise ModelError(
            f"{path}: the calibration table of another model: of the file with the SHA-256 "
            f"{table.model_sha256[:12]}..., not {model_sha256[:12]}...: calibrate this one with "
            f"{_CALIBRATE}"
        )
    return table


def _parsed(path: Path, entries: Any) -> Table:
    if not isinstance(entries, dict):
        raise _damaged(path, "it is no JSON object")
    # The version goes first: another format may name its entries differently.
    version = entries.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path}: a calibration table of format version {json.dumps(version)}, this "
            f"toolchain reads version {FORMAT_VERSION}: calibrate again with {_CALIBRATE}"
        )
    tensors = _entry_of(path, entries, "tensors", dict)
    ranges = {name: _range(path, name, entry) for name, entry in tensors.items()}
    if not ranges:
        raise _damaged(path, "it holds no tensor")
    return Table(
        model=_entry_of(path, entries, "model", str),
        model_sha256=_entry_of(path, entries, "model_sha256", str),
        method=_entry_of(path, entries, "method", str),
        samples=_entry_of(path, entries, "samples", int),
        data_sha256=_entry_of(path, entries, "data_sha256", str),
        ranges=ranges,
        means={
            name: _means(path, name, entry["means"])
            for name, entry in tensors.items()
            if "means" in entry
        },
    )


def _entry_of(path: Path, entries: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(entries.get(name), kind):
        shown = json.dumps(entries.get(name))[:60]
        raise _damaged(path, f"{name} is {shown if name in entries else 'missing'}")
    return entries[name]


def _range(path: Path, name: str, entry: Any) -> Range:
    """The range of one tensor, whose scale and zero point are to follow from it."""
    fields = ("low", "high", "scale", "zero_point")
    if not isinstance(entry, dict) or not all(_is_finite(entry.get(field)) for field in fields):
        raise _damaged(path, f"{name} lacks a finite number for one of {', '.join(fields)}")
    limits = Range(float(entry["low"]), float(entry["high"]))
    try:
        scale, zero_point = quantization(name, limits)
    except ModelError as error:
        raise _damaged(path, str(error)) from error
    if (float(scale), zero_point) != (entry["scale"], entry["zero_point"]):
        raise _damaged(path, f"the scale and zero point of {name} do not follow from its range")
    return limits


def _means(path: Path, name: str, values: Any) -> tuple[float, ...]:
    if not isinstance(values, list) or not all(map(_is_finite, values)):
        raise _damaged(path, f"the means of {name} are no list of finite numbers")
    return tuple(map(float, values))


def _is_finite(value: Any) -> bool:
    """Whether it is a number that float64 holds: an integer of JSON may be any size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _refuse_constant(text: str) -> None:
    raise ValueError(f"it holds {text}")


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path}: a damaged calibration table ({why}): calibrate again with {_CALIBRATE}"
    )

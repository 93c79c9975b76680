"""The calibration table: the range of every activation, and what it was measured on.

It is a JSON file that names the model by the SHA-256 of its file, so that no model is quantized
with the ranges of another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calibration.quantization import Range, grid_over
from runtime.core import files
from runtime.core.errors import ModelError, reason

FORMAT_VERSION = 1
_CALIBRATE = "`make calibrate MODEL=... DATA=...`"


@dataclass(frozen=True)
class Table:
    """What calibration found out about one model.

    Attributes:
        model: its name, from the metadata.
        model_sha256: the SHA-256 of the float ONNX file.
        method: how the ranges were chosen.
        samples: images that were run.
        data_sha256: the SHA-256 of their names and pixels, in order.
        ranges: by tensor; the graph's input is one of them.
    """

    model: str
    model_sha256: str
    method: str
    samples: int
    data_sha256: str
    ranges: Mapping[str, Range]


def to_bytes(table: Table) -> bytes:
    """The table as its file holds it. Raises ModelError for a range that `grid_over` refuses."""
    head = asdict(table)
    del head["ranges"]
    lines = json.dumps({"format_version": FORMAT_VERSION, **head}, indent=2).splitlines()[1:-1]
    # Every tensor is put on one line, so that a table of hundreds can be read.
    tensors = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(_entry(name, limits))}"
        for name, limits in table.ranges.items()
    )
    text = "\n".join(["{", *lines]) + ',\n  "tensors": {\n' + tensors + "\n  }\n}\n"
    return text.encode()


def _entry(name: str, limits: Range) -> dict[str, Any]:
    grid = grid_over(name, limits)
    return {**asdict(limits), "scale": grid.scale, "zero_point": grid.zero_point}


def write(path: Path, table: Table) -> None:
    """Writes the table, all of it or nothing. Raises ShiftAddError where it cannot."""
    files.replace(path, to_bytes(table), "calibration table")


def read(path: Path, model_sha256: str) -> Table:
    """The table at `path`, which has to belong to the model file with the given SHA-256.

    Other fields of a tensor are passed over: tables used to hold the means of its channels.

    Raises ModelError, naming the file, where it is missing, damaged, of another format version, or
    of another model.
    """
    try:
        with files.open_regular(path) as file:
            table = _parsed(path, json.load(file, parse_constant=_refuse_constant))
    except OSError as error:
        raise ModelError(f"{path}: cannot read the calibration table: {reason(error)}") from error
    # RecursionError comes from JSON that is nested without end, or so deeply that it can be read
    # but not printed.
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
    )


def _entry_of(path: Path, entries: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(entries.get(name), kind):
        shown = json.dumps(entries.get(name))[:60]
        raise _damaged(path, f"{name} is {shown if name in entries else 'missing'}")
    return entries[name]


def _range(path: Path, name: str, entry: Any) -> Range:
    """The range of one tensor, from which its scale and zero point have to follow."""
    fields = ("low", "high", "scale", "zero_point")
    if not isinstance(entry, dict) or not all(_is_finite(entry.get(field)) for field in fields):
        raise _damaged(path, f"{name} lacks a finite number for one of {', '.join(fields)}")
    limits = Range(float(entry["low"]), float(entry["high"]))
    if limits.low > limits.high:
        raise _damaged(path, f"the range of {name} ends below its start")
    try:
        grid = grid_over(name, limits)
    except ModelError as error:
        raise _damaged(path, str(error)) from error
    if (grid.scale, grid.zero_point) != (entry["scale"], entry["zero_point"]):
        raise _damaged(path, f"the scale and zero point of {name} do not follow from its range")
    return limits


def _is_finite(value: Any) -> bool:
    """Whether it is a number that float64 can hold: an integer in JSON may be of any size."""
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

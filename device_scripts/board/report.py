"""A benchmark's results as a table, as JSON and as CSV."""

import csv
import io
import json
import os
from typing import Any, Dict, List, Optional

from device_scripts.board import throttling
from device_scripts.board.measure import Result
from runtime.core import files
from runtime.core.errors import ShiftAddError

FORMAT = 1
COLUMNS = (
    "name", "file", "processor", "threads", "runs", "median_ms", "p90_ms", "p99_ms", "min_ms",
    "images_per_second", "power_mw", "energy_per_image_j", "energy_above_idle_j", "clock_mhz",
    "hottest_c", "throttling",
)  # fmt: skip
"""The columns of the CSV, and the keys of an entry in the JSON's "results", which has "times_ms" as
well."""
_HEADER = ("", "median", "p90", "p99", "images/s", "power", "energy/image", "clock", "hottest")
_ROW = "{:<{}} {:>10} {:>10} {:>10} {:>9} {:>8} {:>12} {:>9} {:>8}"


def entry(result: Result, idle_mw: Optional[float]) -> Dict[str, Any]:
    """A result's numbers, by column; None where one could not be measured."""
    import numpy as np

    contestant = result.contestant
    median, p90, p99 = (float(value) for value in np.percentile(result.times_ms, [50, 90, 99]))
    energy, power = result.energy_per_image_j, result.power_mw
    above = None
    if energy is not None and power is not None and idle_mw is not None:
        above = energy * (power - idle_mw) / power if power else 0.0
    return {
        "name": contestant.name,
        "file": contestant.file,
        "processor": contestant.processor,
        "threads": contestant.threads,
        "runs": result.runs,
        "median_ms": median,
        "p90_ms": p90,
        "p99_ms": p99,
        "min_ms": min(result.times_ms),
        "images_per_second": 1e3 * result.runs / sum(result.times_ms),
        "power_mw": power,
        "energy_per_image_j": energy,
        "energy_above_idle_j": above,
        "clock_mhz": result.clock_mhz,
        "hottest_c": result.hottest,
        "throttling": throttling.of_result(result),
    }


def table(entries: List[Dict[str, Any]]) -> List[str]:
    """The lines of the table that is printed."""
    width = max(len(row["name"]) for row in entries)
    lines = [_ROW.format(_HEADER[0], width, *_HEADER[1:])]
    for row in entries:
        cells = [
            _cell(row["median_ms"], "{:.2f} ms"),
            _cell(row["p90_ms"], "{:.2f} ms"),
            _cell(row["p99_ms"], "{:.2f} ms"),
            _cell(row["images_per_second"], "{:.1f}"),
            _cell(row["power_mw"], "{:.2f} W", 1e-3),
            _cell(row["energy_per_image_j"], "{:.1f} mJ", 1e3),
            _cell(row["clock_mhz"], "{:.0f} MHz"),
            _cell(row["hottest_c"], "{:.1f} C"),
        ]
        lines.append(_ROW.format(row["name"], width, *cells))
    return lines


def _cell(value: Optional[float], form: str, factor: float = 1.0) -> str:
    return "-" if value is None else form.format(factor * value)


def check_folder(folder: str) -> None:
    """Raises ShiftAddError where no report could be written to `folder`; the folder is not made
    yet."""
    existing = os.path.abspath(folder)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK | os.X_OK):
        raise ShiftAddError(
            "{}: no report can be written there: {} is no folder, or not yours to write to; "
            "name another with --out".format(folder, existing)
        )


def write(folder: str, document: Dict[str, Any]) -> List[str]:
    """Writes benchmark.json and benchmark.csv and returns their paths. Raises ShiftAddError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in document["results"]:
        writer.writerow(dict(row, throttling="; ".join(row["throttling"])))
    contents = {"json": json.dumps(document, indent=2) + "\n", "csv": text.getvalue()}
    paths = []
    for suffix in ("json", "csv"):
        paths.append(os.path.join(folder, "benchmark." + suffix))
        files.replace(paths[-1], contents[suffix].encode("utf-8"), "report")
    return paths

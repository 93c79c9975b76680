"""calibration/table.py: the file that holds the ranges, their scales and zero points."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.quantization import Grid, Range, grid_over
from calibration.table import Table, read, write
from runtime.core.errors import ModelError, ShiftAddError

SHA256 = "0123456789abcdef" * 4
TABLE = Table(
    model="small",
    model_sha256=SHA256,
    method="mse",
    samples=7,
    data_sha256="fedcba9876543210" * 4,
    ranges={"input": Range(-2.5, 2.25), "a/b\n:0": Range(0.0, float(np.float32(0.1)))},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.int8.json"
    write(path, TABLE)
    assert read(path, SHA256) == TABLE
    entry = json.loads(path.read_text())["tensors"]["input"]
    assert Grid(entry["scale"], entry["zero_point"]) == grid_over("input", TABLE.ranges["input"])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_table_with_the_means_of_channels_is_read(tmp_path: Path) -> None:
    """As tables held them until nothing read them any more."""
    write(tmp_path / "t", TABLE)
    entries = json.loads((tmp_path / "t").read_text())
    entries["tensors"]["input"]["means"] = [0.1, -1e-30, 3.0]
    (tmp_path / "t").write_text(json.dumps(entries))
    assert read(tmp_path / "t", SHA256) == TABLE


def test_a_constant_has_its_place_in_a_table(tmp_path: Path) -> None:
    ranges = {"dead": Range(0.0, 0.0), "bias": Range(-3.5, -3.5)}
    write(tmp_path / "t", replace(TABLE, ranges=ranges))
    assert read(tmp_path / "t", SHA256).ranges == ranges


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    with pytest.raises(ShiftAddError, match=r"t: cannot write the calibration table"):
        write(tmp_path / "t", TABLE)
    endless = replace(TABLE, ranges={"wild": Range(0, math.inf)})
    with pytest.raises(ModelError, match=r"wild: its range is 0\.\.inf"):
        write(tmp_path / "u", endless)
    assert [file.name for file in tmp_path.iterdir()] == ["t"]


def refused(path: Path, *parts: str, sha256: str = SHA256) -> None:
    with pytest.raises(ModelError) as caught:
        read(path, sha256)
    for part in (str(path), *parts):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_table_of_another_model(tmp_path: Path) -> None:
    write(tmp_path / "t", TABLE)
    refused(tmp_path / "t", "of another model", SHA256[:12], "e" * 12, sha256="e" * 64)
    refused(tmp_path / "none", "No such file")


def test_no_part_of_a_table_is_a_table(tmp_path: Path) -> None:
    write(tmp_path / "t", TABLE)
    content = (tmp_path / "t").read_bytes()
    for length in range(len(content.rstrip()) - 1):
        (tmp_path / "t").write_bytes(content[:length])
        refused(tmp_path / "t", "damaged")


def setting(*path: str, to: Any) -> Callable[[Any], None]:
    def change(entries: Any) -> None:
        for key in path[:-1]:
            entries = entries[key]
        entries[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("format_version", to=2), "format version 2, this toolchain reads version 1"),
        (setting("format_version", to=None), "format version null"),
        (setting("samples", to="7"), 'samples is "7"'),
        (setting("model_sha256", to=3), "model_sha256 is 3"),
        (setting("tensors", to=[]), "tensors is []"),
        (setting("tensors", to={}), "no tensor"),
        (setting("tensors", "input", to=3), "input lacks a finite number"),
        (setting("tensors", "input", "low", to=math.nan), "it holds NaN"),
        (setting("tensors", "input", "high", to=math.inf), "it holds Infinity"),
        (setting("tensors", "input", "high", to=10**400), "input lacks a finite number"),
        (setting("tensors", "input", "high", to=True), "input lacks a finite number"),
        (setting("tensors", "input", "high", to=-2.6), "the range of input ends below its start"),
        (setting("tensors", "input", "scale", to=1.0), "input do not follow from its range"),
        (setting("tensors", "input", "zero_point", to=1), "input do not follow from its range"),
    ],
)
def test_damaged_tables(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    write(tmp_path / "t", TABLE)
    entries = json.loads((tmp_path / "t").read_text())
    change(entries)
    (tmp_path / "t").write_text(json.dumps(entries))
    refused(tmp_path / "t", message, "make calibrate")


@pytest.mark.parametrize("content", [b"[]", b"3", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    refused(tmp_path / "t", "damaged")


def test_an_overflowing_number(tmp_path: Path) -> None:
    write(tmp_path / "t", TABLE)
    text = (tmp_path / "t").read_text()
    (tmp_path / "t").write_text(text.replace("-2.5", "-1e999"))
    refused(tmp_path / "t", "input lacks a finite number")


def test_a_table_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.json")
    with pytest.raises(ModelError, match="cannot read the calibration table: not a regular file"):
        read(tmp_path / "m.json", "")

"""The search for nodes to keep in float: it finds a planted one, and keeps no more than it must."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from PIL import Image

from calibration import __main__ as calibrate
from calibration.quantization import Range
from calibration.quantize import quantize_model
from calibration.ranges import choose, observe
from calibration.sensitivity import Choice, Search
from calibration.table import Table
from export import export_model
from runtime.console.commandline import leave
from runtime.core.metadata import Metadata, parse
from tests.support.models.exported import SIZE, TinyNet, make_spec, randomise, run_onnxruntime

Array = npt.NDArray[Any]
MakeSearch = Callable[..., Search]

QUANTIZED = [
    "stem.0",
    "depthwise.0",
    "grouped.0",
    "adder.0",
    "pointwise.0",
    "plain.0",
    "/Add",
    "/pool/GlobalAveragePool",
    "classifier",
]
"""The nodes of TinyNet that have an integer form, in order."""


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    torch.manual_seed(1)
    return export_model(randomise(TinyNet()), make_spec(), "jetson-nano")


@pytest.fixture(scope="module")
def batches() -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((4, *SIZE), dtype=np.float32) for _ in range(2)]


@pytest.fixture(scope="module")
def table(model: onnx.ModelProto, batches: list[Array], operator_library: Path) -> Table:
    observed = observe(model, metadata_of(model), batches, "minmax", str(operator_library))
    return Table("tiny", "", "minmax", 8, "", choose(observed, "minmax"))


@pytest.fixture
def search(
    model: onnx.ModelProto, table: Table, batches: list[Array], operator_library: Path
) -> MakeSearch:
    """Makes a search, of another table and with nodes that stay in float if asked for."""

    def make(ranges: Table = table, keep_float: tuple[str, ...] = ()) -> Search:
        library = str(operator_library)
        return Search(model, ranges, metadata_of(model), batches, keep_float, library)

    return make


def metadata_of(model: onnx.ModelProto) -> Metadata:
    return parse({entry.key: entry.value for entry in model.metadata_props})


def widened(table: Table, value: str, factor: float) -> Table:
    limits = table.ranges[value]
    wide = Range(factor * limits.low, factor * limits.high)
    return replace(table, ranges={**table.ranges, value: wide})


def test_a_ratio_is_that_of_the_logits(
    model: onnx.ModelProto,
    table: Table,
    batches: list[Array],
    operator_library: Path,
    search: MakeSearch,
) -> None:
    kept = ("adder.0", "/Add")
    x = np.concatenate(batches)
    reference = run_onnxruntime(model, x, operator_library).astype(np.float64)
    logits = run_onnxruntime(quantize_model(model, table, kept), x, operator_library)
    expected = 10 * math.log10(np.square(reference).sum() / np.square(logits - reference).sum())
    assert search().decibels(kept) == pytest.approx(expected, abs=1e-3)
    assert search(keep_float=kept).decibels(()) == pytest.approx(expected, abs=1e-3)


def test_every_node_with_an_integer_form_is_ranked(search: MakeSearch) -> None:
    found = search()
    assert found.nodes == QUANTIZED
    ranking = found.rank()
    assert sorted(entry.node for entry in ranking) == sorted(QUANTIZED)
    ratios = [entry.decibels for entry in ranking]
    assert ratios == sorted(ratios)
    assert all(15 < ratio < 80 for ratio in ratios)
    fixed = search(keep_float=("stem.0", "/Add"))
    assert fixed.nodes == [name for name in QUANTIZED if name not in ("stem.0", "/Add")]


def test_the_node_whose_range_is_absurd_is_kept(
    model: onnx.ModelProto, table: Table, search: MakeSearch
) -> None:
    good = search().decibels(())
    node = next(node for node in model.graph.node if node.name == "adder.0")
    choice = search(widened(table, node.output[0], 300.0)).choose(good - 3)
    assert choice.before < 10 < good - 3 <= choice.after
    # Its values must not be turned into codes: neither where they are made nor where they are read.
    assert set(choice.kept) == {"adder.0", "pointwise.0", "plain.0"}
    assert {entry.node for entry in choice.ranking[:3]} == set(choice.kept)
    assert list(choice.kept) == [entry.node for entry in choice.ranking[:3]]


def test_no_more_is_kept_than_the_target_needs(search: MakeSearch) -> None:
    found = search()
    start = found.decibels(())
    assert found.choose(start - 1).kept == ()
    choice = found.choose(start + 3)
    assert 0 < len(choice.kept) < len(QUANTIZED)
    assert choice.before == start
    assert choice.after == found.decibels(choice.kept) >= start + 3
    for name in choice.kept:
        assert found.decibels([other for other in choice.kept if other != name]) < start + 3


def test_what_integers_cannot_reach_keeps_all_in_float(search: MakeSearch) -> None:
    choice = search().choose(1000.0)
    assert sorted(choice.kept) == sorted(QUANTIZED)
    assert choice.after == math.inf


def test_the_choice_is_told_in_a_form_to_use_again() -> None:
    lines = list(Choice([], ("a", "b"), 20.04, 31.0).lines())
    assert any("KEEP_FLOAT=a,b" in line for line in lines)
    assert any("20.0 dB" in line and "31.0 dB" in line for line in lines)
    assert not any("KEEP_FLOAT" in line for line in Choice([], (), 31.0, 31.0).lines())


def command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        leave(calibrate.main, [str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_the_command_writes_what_was_chosen(
    model: onnx.ModelProto,
    tmp_path: Path,
    operator_library: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    onnx.save(model, tmp_path / "tiny.onnx")
    rng = np.random.default_rng()
    (tmp_path / "set").mkdir()
    for index in range(5):
        pixels = rng.integers(0, 256, size=(30, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / f"{index}.png")
    code = command(tmp_path / "tiny.onnx", "--data", tmp_path / "set", "--out",
                   tmp_path / "q.onnx", "--method", "minmax", "--keep-float", "stem.0",
                   "--sensitivity", "1000", "--library", operator_library)  # fmt: skip
    assert code == 0
    written = onnx.load(tmp_path / "q.onnx")
    assert not [node for node in written.graph.node if "QLinear" in node.op_type]
    shown = capsys.readouterr().out
    assert "8 of 8 nodes in float" in shown
    again = next(line.split("=")[1] for line in shown.splitlines() if "KEEP_FLOAT=" in line)
    assert set(again.split(",")) == set(QUANTIZED) - {"stem.0"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--table", "t.json", "--sensitivity"], "--sensitivity runs the model: name its images"),
        (["--data", "x", "--sensitivity", "much"], "--sensitivity: 'much' is not a finite number"),
        (["--data", "x", "--sensitivity", "nan"], "'nan' is not a finite number"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert command(tmp_path / "tiny.onnx", *arguments) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert len(complaint.splitlines()) == 1

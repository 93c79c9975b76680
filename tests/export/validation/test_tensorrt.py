"""`make validate BACKEND=tensorrt` on stand-ins for TensorRT and PyCUDA.

A stand-in's engine is the ONNX file in ONNX Runtime: what is tested is that the layers' outputs
come through an engine by their names, that both precisions are judged by their tolerances, and that
the report says what was compared. Whether plugins compute what PyTorch does, only a GPU can tell.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from calibration.comparison import inputs
from calibration.comparison.deviation import FLOAT16, FLOAT32
from export.onnx_export.model import export_model
from export.validation import compare, rows
from export.validation.__main__ import main
from export.validation.exported import ExportedModel
from export.validation.reference import Reference
from runtime.console.commandline import leave
from tests.export.validation.test_validation import (
    MODEL,
    SMALL_SPEC,
    Small,
    broken,
    edit,
    nudge,
    trained_by_chance,
)
from tests.support.standins import modules as runtime_standins
from tests.support.standins.modules import DESKTOP, VERSIONS


@pytest.fixture(params=VERSIONS)
def standins(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, operator_library: Path
) -> Iterator[Any]:
    import sys

    import calibration.comparison

    name = "calibration.comparison.tensorrt_backend"
    with runtime_standins.in_this_process(monkeypatch, request.param, operator_library, DESKTOP):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(calibration.comparison, "tensorrt_backend", raising=False)
        yield request.param
        sys.modules.pop(name, None)
        vars(calibration.comparison).pop("tensorrt_backend", None)
        gc.collect()


@pytest.fixture
def plugins(tmp_path: Path, operator_library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = runtime_standins.plugin_library(tmp_path, operator_library)
    monkeypatch.setenv("SHIFTADD_TENSORRT_LIBRARY", str(path))
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("damaged", [False, True])
def test_layers_are_compared_through_engines(
    standins: str, plugins: Path, tmp_path: Path, precision: str, damaged: bool
) -> None:
    from calibration.comparison.tensorrt_backend import TensorRtBackend
    from runtime.core.metadata import Metadata

    torch.manual_seed(1)
    network = trained_by_chance(Small())
    model = export_model(network, SMALL_SPEC, "jetson-nano")
    if damaged:
        edit("adder", 3, lambda bias: nudge(bias) if precision == "fp32" else bias.fill(9))(model)
    path = tmp_path / "small.onnx"
    onnx.save(model, path)
    backends = []

    def make(metadata: Metadata, library: str | None) -> TensorRtBackend:
        backends.append(TensorRtBackend(metadata, library, precision))
        return backends[-1]

    exported = ExportedModel(path, None, make)
    data = {
        "random": inputs.random_inputs(5, SMALL_SPEC.input_size, 1),
        "real": inputs.real_inputs([], 6, exported.metadata),
    }
    results = compare.compare(exported, Reference(network, SMALL_SPEC.input_size), data)
    facts = exported.backend.facts()
    backends[0].close()
    layers = rows.summarise(results)
    assert [layer.name for layer in layers] == ["shift", "adder", "powers", "conv", "classifier"]
    assert broken(results) == (["adder"] if damaged else [])
    assert rows.tolerances(results) == (FLOAT32 if precision == "fp32" else FLOAT16)
    if precision == "fp16":
        # The outputs went through half a float: within its tolerance, and beyond float32's.
        assert all(layer.isolated > FLOAT32.layer for layer in layers)
    assert standins == facts["TensorRT"]
    assert facts["GPU"] == "a desktop's, compute capability 8.6"
    assert exported.backend.library == str(plugins)


def validate(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        leave(main, [str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def exported_file(tmp_path: Path) -> Path:
    from export.checkpoint import load_model
    from export.models import find_model

    network, sha256 = load_model(MODEL)
    path = tmp_path / f"{MODEL}.onnx"
    onnx.save(export_model(network, find_model(MODEL), checkpoint_sha256=sha256), path)
    return path


def test_the_command_and_its_report(
    standins: str,
    plugins: Path,
    exported_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = validate(MODEL, "--model-file", exported_file, "--count", "2", "--report-dir", tmp_path,
                    "--backend", "tensorrt", "--precision", "fp16")  # fmt: skip
    output = capsys.readouterr()
    assert (code, output.err) == (0, "")
    assert output.out.count(f"building a fp16 engine with TensorRT {standins}") == 2
    assert "isolated (<= 2e-03)" in output.out
    page = (tmp_path / f"{MODEL}-validation-tensorrt-fp16.html").read_text(encoding="utf-8")
    for part in (f"<td>{standins}</td>", "compute capability 8.6", str(plugins), "PyCUDA"):
        assert part in page
    assert "At most\n2e-03" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--precision", "fp16"], "--precision: ONNX Runtime computes in fp32"),
        (["--backend", "tensorrt", "--precision", "int8"], "--precision"),
        (["--backend", "openvino"], "--backend"),
        (["--backend", "tensorrt", "--library", "none.so"], "no plugin library at none.so"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    standins: str,
    exported_file: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    assert validate(MODEL, "--model-file", exported_file, *arguments) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert len(complaint.splitlines()) == 1


def test_a_missing_tensorrt_is_one_line(
    exported_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    for name in (
        "runtime.engines.tensorrt.gpu",
        "runtime.engines.tensorrt.api",
        "calibration.comparison.tensorrt_backend",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert validate(MODEL, "--model-file", exported_file, "--backend", "tensorrt") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be imported" in line

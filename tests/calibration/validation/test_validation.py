"""`make validate-int8`: ratios as NumPy has them, faults found in their layer, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest
import torch
from onnx import helper, numpy_helper

from calibration import __main__ as calibrate
from calibration.comparison.inputs import labelled_inputs, real_inputs, sample_patches
from calibration.model_file import ModelFile
from calibration.quantization import Grid, Range
from calibration.quantize import quantize_model
from calibration.table import Table, read, write
from calibration.validation import codes, rows
from calibration.validation.__main__ import main
from calibration.validation.compare import BEYOND_ROUNDING, LayerResult, Result, compare
from calibration.validation.pair import Pair
from export import export_model
from export.checkpoint import load_model
from export.models import find_model
from runtime.console.commandline import leave
from runtime.core.image_sets import ImageFolder
from runtime.core.metadata import parse
from runtime.core.onnx_header import read_metadata
from tests.support.models.exported import CLASSES, TinyNet, make_spec, randomise

Array = npt.NDArray[Any]
Damage = Callable[[onnx.ModelProto], None]

MODEL = "ghostshiftaddnet"
STEP = Grid(0.5, 3)


def labelled_folder(path: Path, labels: list[str], count: int) -> Path:
    """An ImageFolder of sample patches, whose classes are drawn from a hat."""
    for index, patch in enumerate(sample_patches(count)):
        file = path / labels[index % len(labels)] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        patch.resize((48, 40)).save(file)
    return path


def calibrated(folder: Path, name: str, model: onnx.ModelProto, library: Path, *more: str) -> Path:
    """Saves the model, and writes its integer twin and its table beside it."""
    path, labels = folder / f"{name}.onnx", [f"label {i}" for i in range(CLASSES)]
    onnx.save(model, path)
    data = labelled_folder(folder / "images", labels, 16)
    arguments = [path, "--data", data, "--method", "minmax", "--library", library,
                 "--out", folder / f"{name}.int8.onnx", *more]  # fmt: skip
    assert calibrate.main([str(argument) for argument in arguments]) == 0
    return path


def pair_of(path: Path, library: Path) -> Pair:
    integer = path.with_name(f"{path.stem}.int8.onnx")
    return Pair(ModelFile(path), ModelFile(integer), integer.with_suffix(".json"), str(library))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory, operator_library: Path) -> Path:
    """The shipped network's float file, its integer one beside it."""
    network, sha256 = load_model(MODEL)
    model = export_model(network, find_model(MODEL), checkpoint_sha256=sha256)
    return calibrated(tmp_path_factory.mktemp("shipped"), MODEL, model, operator_library)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, operator_library: Path) -> Path:
    """A network with layers that stay in float; seeded, so that no layer is cut off by its ReLU."""
    torch.manual_seed(1)
    model = export_model(randomise(TinyNet()), make_spec(), "jetson-nano")
    folder = tmp_path_factory.mktemp("tiny")
    return calibrated(folder, "tiny", model, operator_library, "--keep-float", "plain.0")


def images(path: Path, count: int = 6) -> Array:
    return real_inputs([], count, parse(read_metadata(str(path))))


def by_name(result: Result) -> dict[str, LayerResult]:
    return {layer.layer.name: layer for layer in result.layers}


def decibels(out: Array, reference: Array) -> float:
    reference = reference.astype(np.float64)
    return float(10 * np.log10((reference**2).sum() / ((out - reference) ** 2).sum()))


def test_codes_are_rounded_half_to_even_and_channels_last() -> None:
    value = np.array([[[-9.0, -1.5]], [[0.25, 0.75]], [[126.0, 126.2]]], np.float32)[None]
    made = codes.quantize(value, STEP)
    assert made.shape == (1, 1, 2, 3)
    # -9 and 126.2 lie beyond the ends; 0.5 and 1.5 steps go to the even code before 3 is added.
    assert made[0, 0].tolist() == [[0, 3, 255], [0, 5, 255]]
    expected = [[[-1.5, -1.5]], [[0.0, 1.0]], [[126.0, 126.0]]]
    assert codes.dequantize(made, STEP)[0].tolist() == expected
    assert np.array_equal(codes.rounded(value, STEP), codes.dequantize(made, STEP))
    assert codes.saturated(made, STEP) == 4
    assert codes.saturated(made, replace(STEP, zero_point=0)) == 2
    assert codes.saturated(made, replace(STEP, zero_point=255)) == 2


def test_ratios_are_those_of_numpy(tiny: Path, operator_library: Path) -> None:
    x = images(tiny)
    result = compare(pair_of(tiny, operator_library), x, 0.0)
    values = outputs(onnx.load(tiny), operator_library, x)
    integer_path = tiny.with_name("tiny.int8.onnx")
    made = outputs(onnx.load(integer_path), operator_library, x)
    tensors = json.loads(tiny.with_name("tiny.int8.json").read_text())["tensors"]
    compared = 0
    for layer in result.layers:
        value = layer.layer.value
        if layer.layer.quantized:
            entry, ours = tensors[value], made[f"{value}/codes"].astype(np.float64)
            ends = {0, 255} - {entry["zero_point"]}
            assert layer.saturation == np.isin(ours, list(ends)).mean()
            steps = np.moveaxis(ours, -1, 1) - entry["zero_point"]
            out = entry["scale"] * steps
        else:
            out = made[value]
        assert layer.accumulated.decibels == pytest.approx(decibels(out, values[value]), abs=1e-3)
        compared += 1
    assert compared == len(result.layers) == 10
    # The logits are those of the files as they are: with every tensor as an output ONNX Runtime
    # fuses other nodes, and a value near a tie between two codes may go to the other one.
    theirs = run(onnx.load(tiny), operator_library, x, ["logits"])["logits"]
    ours = run(onnx.load(integer_path), operator_library, x, ["logits"])["logits"]
    assert result.logits.decibels == pytest.approx(decibels(ours, theirs))
    assert result.agreement == (ours.argmax(1) == theirs.argmax(1)).mean()


def outputs(model: onnx.ModelProto, library: Path, x: Array) -> dict[str, Array]:
    """Every tensor that a node makes, and the input."""
    known = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    return run(model, library, x, names)


def run(model: onnx.ModelProto, library: Path, x: Array, names: list[str]) -> dict[str, Array]:
    """These tensors of the model, and the input."""
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library))
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return {"input": x, **dict(zip(names, session.run(names, {"input": x}), strict=True))}


def test_a_layer_by_itself_has_no_noise_of_the_ones_before(
    tiny: Path, operator_library: Path
) -> None:
    # Six images give the last layer 42 outputs, of which a ratio is no better than to half a dB.
    result = compare(pair_of(tiny, operator_library), images(tiny, 60), 0.0)
    layers = by_name(result)
    first = layers["stem.0"]
    assert first.isolated == first.accumulated
    for layer in result.layers:
        if layer.isolated is not None:
            assert layer.isolated.decibels >= layer.accumulated.decibels - 0.5
            beyond = layer.isolated.decibels - layer.rounding.decibels
            assert abs(beyond) < BEYOND_ROUNDING, layer.layer.name
    floats = [layer.layer.name for layer in result.layers if layer.isolated is None]
    assert floats == ["plain.0"]
    assert [layer.layer.name for layer in result.worst_first[-1:]] == floats


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    found: onnx.NodeProto = next(node for node in model.graph.node if node.name == name)
    return found


def own_input(name: str, field: int, change: Callable[[Array], Array]) -> Damage:
    """Gives a node an input of its own, changed: no other node's is touched."""

    def damage(model: onnx.ModelProto) -> None:
        node = node_of(model, name)
        tensor = next(t for t in model.graph.initializer if t.name == node.input[field])
        value = numpy_helper.to_array(tensor)
        changed = change(value.copy()).astype(value.dtype)
        node.input[field] = f"{tensor.name}/damaged"
        model.graph.initializer.append(numpy_helper.from_array(changed, node.input[field]))

    return damage


SHIFT, ADDER = "blocks.3.project.depthwise.0", "blocks.3.expand.adder.0"


@pytest.mark.parametrize(
    ("layer", "field", "change"),
    [
        (SHIFT, 1, lambda scale: scale * 1.2),
        (SHIFT, 3, lambda weight: weight ^ np.int32(8)),
        (SHIFT, 4, lambda scale: scale * 1.05),
        (SHIFT, 5, lambda bias: bias + 0.1),
        (SHIFT, 6, lambda scale: scale * 1.2),
        (SHIFT, 7, lambda zero_point: zero_point + 2),
        (ADDER, 3, lambda weight: weight + 4 * (weight < 250)),
        (ADDER, 5, lambda bias: bias + 0.2),
    ],
    ids=["x_scale", "sign", "scale", "bias", "y_scale", "y_zero_point", "codes", "adder bias"],
)
def test_a_fault_is_found_in_its_layer(
    shipped: Path,
    tmp_path: Path,
    operator_library: Path,
    layer: str,
    field: int,
    change: Callable[[Array], Array],
) -> None:
    result = compare(damaged(shipped, tmp_path, operator_library, own_input(layer, field, change)),
                     images(shipped, 4), 0.0)  # fmt: skip
    assert [found.layer.name for found in result.layers if found.faulty] == [layer]
    assert result.worst_first[0].layer.name == layer
    assert not result.passed
    assert rows.verdicts(result)[0].startswith("FAIL: 1 of 76 layers")
    assert layer in rows.verdicts(result)[0]


def damaged(path: Path, folder: Path, library: Path, damage: Damage) -> Pair:
    integer = path.with_name(f"{path.stem}.int8.onnx")
    model = onnx.load(integer)
    damage(model)
    onnx.save(model, folder / "damaged.onnx")
    table = integer.with_suffix(".json")
    return Pair(ModelFile(path), ModelFile(folder / "damaged.onnx"), table, str(library))


def test_a_range_that_is_too_wide_is_told_from_a_fault(
    shipped: Path, tmp_path: Path, operator_library: Path
) -> None:
    model = onnx.load(shipped)
    value = node_of(model, SHIFT).output[0]
    table = widened(read(shipped.with_name(f"{MODEL}.int8.json"), ModelFile(shipped).sha256), value)
    write(tmp_path / "wide.json", table)
    onnx.save(quantize_model(model, table), tmp_path / "wide.onnx")
    pair = Pair(ModelFile(shipped), ModelFile(tmp_path / "wide.onnx"), tmp_path / "wide.json",
                str(operator_library))  # fmt: skip
    result = compare(pair, images(shipped, 4), 0.0)
    worst = result.worst_first[0]
    assert worst.coarse
    assert not any(layer.faulty for layer in result.layers)
    # What makes the values, and what reads them.
    assert {layer.layer.name for layer in result.layers if layer.coarse} == {
        SHIFT,
        "blocks.3.project.adder.0",
    }
    assert "KEEP_FLOAT" in rows.verdicts(result)[0]


def widened(table: Table, value: str) -> Table:
    """The table with a range a thousand times as wide."""
    limits = table.ranges[value]
    wide = Range(1000 * limits.low, 1000 * limits.high)
    return replace(table, ranges={**table.ranges, value: wide})


def test_true_classes_are_counted_where_the_data_has_them(
    tiny: Path, tmp_path: Path, operator_library: Path
) -> None:
    pair = pair_of(tiny, operator_library)
    metadata = pair.float_file.metadata
    folder = labelled_folder(tmp_path / "set", ["label 2", "label 5"], 9)
    x, classes = labelled_inputs(str(folder), 6, metadata)
    assert x.shape == (6, *metadata.input_size)
    assert classes is not None
    known = ImageFolder(folder)
    assert classes.tolist() == [(2, 5)[known.samples[i * 9 // 6][1]] for i in range(6)]
    result = compare(pair, x, 0.0, classes)
    assert result.top1(result.float_logits) == (result.float_logits.argmax(1) == classes).mean()
    strange = labelled_folder(tmp_path / "strange", ["label 2", "zebra"], 4)
    assert labelled_inputs(str(strange), 9, metadata)[1] is None
    assert compare(pair, x, 0.0).top1(x) is None


def validate(*arguments: str | Path) -> int:
    """The command's exit code."""
    with pytest.raises(SystemExit) as left:
        leave(main, [str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_the_command_writes_a_report(
    shipped: Path,
    tmp_path: Path,
    operator_library: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    integer = shipped.with_name(f"{MODEL}.int8.onnx")
    code = validate(
        integer, "--count", "8", "--report-dir", tmp_path, "--library", operator_library
    )
    shown = capsys.readouterr().out
    assert code == 0, shown
    lines = shown.splitlines()
    assert lines[0].startswith("layer")
    assert len([line for line in lines if line.endswith("pass")]) == 76 + 1
    assert "no labels" in shown
    (report,) = tmp_path.iterdir()
    assert report.name == f"{MODEL}.int8-validation.html"
    page = report.read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == page.count("<img ") == 3
    assert "http" not in page
    assert ModelFile(integer).sha256 in page


def test_a_fault_and_too_little_agreement_are_exit_code_1(
    shipped: Path,
    tmp_path: Path,
    operator_library: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Turns the logits round: the best class becomes the worst.
    damaged(shipped, tmp_path, operator_library,
            own_input("classifier", 4, lambda scale: -scale))  # fmt: skip
    data = labelled_folder(tmp_path / "set", ["cat", "frog"], 6)
    code = validate(tmp_path / "damaged.onnx", "--float", shipped, "--data", data,
                    "--table", shipped.with_name(f"{MODEL}.int8.json"),
                    "--report-dir", tmp_path, "--library", operator_library)  # fmt: skip
    assert code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("classifier")
    verdicts = [line for line in lines if line.startswith("FAIL")]
    assert len(verdicts) == 2
    assert "classifier" in verdicts[0]
    assert "less than 95%" in verdicts[1]
    assert '<p class="fail">' in (tmp_path / "damaged-validation.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/missing.int8.onnx"], "missing.int8.onnx: no such file: write it with `make cali"),
        (["{tmp}/alone.int8.onnx"], "alone.onnx: no such file: write it with `make export"),
        (["{tmp}/anything.onnx"], "anything.onnx: is not called MODEL.int8.onnx"),
        (["{tmp}/text.int8.onnx", "--float", "{float}"], "text.int8.onnx: not an ONNX model"),
        (["{float}", "--float", "{float}"], "holds no integer layer"),
        (["{integer}", "--float", "{tmp}/model.onnx"], "is of the model ghostshiftaddnet, "),
        (["{integer}", "--float", "{tmp}/weights.onnx"], "is of other weights than"),
        (["{integer}", "--float", "{tmp}/again.onnx"], "the calibration table of another model"),
        (["{integer}", "--table", "{tmp}/missing.json"], "missing.json: cannot read"),
        (["{integer}", "--table", "{tmp}/text.int8.onnx"], "damaged calibration table"),
        (["{integer}", "--table", "{tmp}/short.json"], "short.json: no range for input"),
        (["{tmp}/strange.onnx", "--float", "{float}"], "no node for the layer stem.0"),
        (["{integer}", "--data", "{tmp}/missing"], "missing: cannot read the image: No such file"),
        (["{integer}", "--data", "{tmp}/text.int8.onnx"], "not an image"),
        (["{integer}", "--count", "0"], "positive"),
        (["{integer}", "--library", "{tmp}/missing.so"], "missing.so"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    shipped: Path,
    tmp_path: Path,
    operator_library: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    integer = shipped.with_name(f"{MODEL}.int8.onnx")
    table = integer.with_suffix(".json")
    (tmp_path / "text.int8.onnx").write_text("no model\n")
    for name in ("alone.int8.onnx", "anything.onnx"):
        (tmp_path / name).write_bytes(integer.read_bytes())
    entries = json.loads(table.read_text())
    del entries["tensors"]["input"]
    (tmp_path / "short.json").write_text(json.dumps(entries))
    changes = {
        "model": {"shiftadd.model": "ghostnet"},
        "weights": {"shiftadd.checkpoint_sha256": "0123456789abcdef" * 4},
        "again": {"exported": "again"},
    }
    for name, properties in changes.items():
        save_with(shipped, tmp_path / f"{name}.onnx", properties)
    strange = onnx.load(integer)
    node_of(strange, "stem.0").name = "stem.9"
    onnx.save(strange, tmp_path / "strange.onnx")
    given = [a.format(tmp=tmp_path, float=shipped, integer=integer) for a in arguments]
    more = [] if "--table" in given else ["--table", str(table)]
    more += [] if "--library" in given else ["--library", str(operator_library)]
    assert validate(*given, *more, "--report-dir", tmp_path / "reports") == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert len(complaint.splitlines()) == 1
    assert not (tmp_path / "reports").exists()


def save_with(source: Path, path: Path, properties: dict[str, str]) -> None:
    """A copy of the model with other metadata."""
    model = onnx.load(source)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, kept | properties)
    onnx.save(model, path)

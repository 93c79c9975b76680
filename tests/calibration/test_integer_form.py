"""Which nodes become integer, whatever the rank of their values; and that what is written runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from calibration import __main__ as command
from calibration import integer_form
from calibration.model_file import ModelFile
from calibration.proof import prove
from calibration.quantize import forms, quantize_model
from calibration.table import Table
from calibration.validation.compare import compare
from calibration.validation.pair import Pair
from calibration.weights import ZERO_CODE, four_bits, multipliers
from export import Spec, export_model
from export.onnx_export.codec import pack, unpack
from export.operator_table import OPERATORS
from export.operators import ShiftConv2d
from runtime.core.errors import ModelError
from runtime.core.metadata import parse
from runtime.core.onnx_header import read_metadata
from tests.calibration.test_quantize import (
    all_values,
    exported,
    images,
    noise_ratio,
    session,
    table_of,
)
from tests.support.models.authors_networks import deepshift_ps, deepshift_q, settle, shiftaddnet
from tests.support.models.exported import CLASSES
from tests.support.models.runtime import photo


def shift(inputs: int, outputs: int) -> ShiftConv2d:
    return ShiftConv2d(inputs, outputs, 1, bias=True, min_exponent=-6)


class Stem(nn.Module):
    """A shift layer, its pooled vector and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ShiftConv2d(3, 8, 3, 2, 1, min_exponent=-6), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.first, self.second = nn.Linear(8, CLASSES), nn.Linear(8, CLASSES)
        self.wide = nn.Linear(16, CLASSES)
        self.classifier, self.wide_shift = shift(8, CLASSES), shift(16, CLASSES)

    def planes(self, x: Tensor) -> Tensor:
        y: Tensor = self.stem(x)
        return y

    def vector(self, x: Tensor) -> Tensor:
        return torch.flatten(self.pool(self.planes(x)), 1)


class SumIsTheLast(Stem):
    def forward(self, x: Tensor) -> Tensor:
        vector = self.vector(x)
        return cast(Tensor, self.first(vector) + self.second(vector))


class ProductOfVectors(Stem):
    def forward(self, x: Tensor) -> Tensor:
        vector = self.vector(x)
        return cast(Tensor, self.first(vector * torch.sigmoid(vector)))


class JoinedVectors(Stem):
    def forward(self, x: Tensor) -> Tensor:
        vector = self.vector(x)
        return cast(Tensor, self.wide(torch.cat([vector, torch.relu(vector)], 1)))


class JoinedLines(Stem):
    def forward(self, x: Tensor) -> Tensor:
        lines = torch.flatten(self.planes(x), 2)
        return cast(Tensor, self.wide(torch.cat([lines, lines + lines], 1).mean(2)))


class JoinedAlongTheLast(Stem):
    def forward(self, x: Tensor) -> Tensor:
        planes = self.planes(x)
        joined = torch.cat([planes, planes + planes], -1)
        return torch.flatten(self.classifier(self.pool(joined)), 1)


class JoinedWithNothing(Stem):
    def forward(self, x: Tensor) -> Tensor:
        planes = self.planes(x)
        joined = torch.cat([planes, torch.zeros_like(planes)], 1)
        return torch.flatten(self.wide_shift(self.pool(joined)), 1)


class PlanesAndVector(Stem):
    """A gate of two dimensions that is brought to four."""

    def forward(self, x: Tensor) -> Tensor:
        planes = self.planes(x)
        gate = torch.sigmoid(self.vector(x))[:, :, None, None]
        return torch.flatten(self.classifier(self.pool(planes * gate)), 1)


@pytest.mark.parametrize(
    ("network", "integer"),
    [
        (SumIsTheLast, {"QLinearAdd": 1}),
        (ProductOfVectors, {"QLinearMul": 1}),
        (JoinedVectors, {"Concat": 1}),
        (JoinedLines, {"QLinearAdd": 1, "Concat": 1}),
        (JoinedAlongTheLast, {"QLinearAdd": 1, "Concat": 1}),
        (JoinedWithNothing, {"Concat": 1}),
        (PlanesAndVector, {"QLinearMul": 1}),
    ],
)
def test_what_joins_values_of_any_rank_is_integer(
    network: type[nn.Module], integer: dict[str, int], operator_library: Path
) -> None:
    float_model, x = exported(network()), images()
    model = quantize_model(float_model, table_of(all_values(float_model, operator_library, x)))
    kinds = Counter(node.op_type for node in model.graph.node)
    assert {kind: kinds[kind] for kind in integer} == integer
    joined = [node for node in model.graph.node if node.op_type in integer]
    assert all(node.output[0].endswith("/codes") for node in joined)
    expected = session(float_model, operator_library).run(None, {"input": x})[0]
    out = session(model, operator_library).run(None, {"input": x})[0]
    assert out.shape == expected.shape
    assert noise_ratio(out, expected) < 0.1


class Mixed(Stem):
    """A layer of many small weights, one that multiplies, and a gate in float."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = ShiftConv2d(8, 8, 3, padding=1, mode="ps", bits=6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fine(self.planes(x))
        return cast(Tensor, self.first(torch.flatten(self.pool(torch.sigmoid(y)), 1)))


def mixed() -> onnx.ModelProto:
    """Beside a weight of 1 there are 71 of 2^-8 in each channel of `fine`, which 4 bits lose."""
    model = exported(Mixed())
    (fine,) = [node for node in model.graph.node if node.name == "fine"]
    weights = np.full((8, 72), 2.0**-8)
    weights[:, 0] = 1
    (words,) = [tensor for tensor in model.graph.initializer if tensor.name == fine.input[1]]
    words.CopyFrom(numpy_helper.from_array(pack(weights, 8), words.name))
    return model


def test_what_stays_in_float_is_told_with_its_reason(operator_library: Path) -> None:
    model = mixed()
    table = table_of(all_values(model, operator_library, images()))
    made = forms(model, table)
    assert made.layers == 3
    assert made.in_float == {
        "4 bits would leave its weights 30 dB": ["fine"],
    }
    assert made.others == {"Sigmoid": 1, "Flatten": 1}
    assert forms(model, table, ["stem.0"]).in_float["KEEP_FLOAT names it"] == ["stem.0"]


def test_a_float_operator_without_an_integer_one_stays_in_float(
    operator_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mixed()
    table = table_of(all_values(model, operator_library, images()))
    # A copy, since a table that is put back together has another order.
    left = {name: entry for name, entry in OPERATORS.items() if name != "QLinearShiftConv"}
    monkeypatch.setattr(integer_form, "OPERATORS", left)
    reason = "ShiftConv has no integer form here"
    assert forms(model, table).in_float[reason] == ["stem.0", "fine"]


def write_images(folder: Path, count: int = 5) -> Path:
    folder.mkdir()
    for i in range(count):
        photo(np.random.default_rng()).save(folder / f"{i}.png")
    return folder


def test_the_command_ends_with_what_is_integer_and_how_it_agrees(
    tmp_path: Path, operator_library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mixed.onnx"
    onnx.save(mixed(), path)
    data, out = write_images(tmp_path / "data"), tmp_path / "q.onnx"
    arguments = [str(path), "--library", str(operator_library), "--out", str(out)]
    assert command.main([*arguments, "--data", str(data)]) == 0
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert lines[0] == "integer  2 of 3 layers; these stay in float:"
    assert lines[1] == "         fine, because 4 bits would leave its weights 30 dB"
    assert lines[2] == "         in float beside the layers: Flatten, Sigmoid"
    assert lines[3].startswith("agrees   ")
    assert " of 5 images have the float model's class; outputs " in lines[3]
    out.unlink()
    assert command.main([*arguments, "--table", str(out.with_suffix(".json"))]) == 0
    assert "agrees" not in capsys.readouterr().out


def test_a_model_that_does_not_run_gets_no_name(
    tmp_path: Path, operator_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mixed.onnx"
    onnx.save(mixed(), path)

    def broken(model: onnx.ModelProto, table: Table, keep: object) -> onnx.ModelProto:
        made = quantize_model(model, table)
        made.graph.node[0].input[0] = "no such value"
        return made

    monkeypatch.setattr(command, "quantize_model", broken)
    arguments = [str(path), "--library", str(operator_library), "--out", str(tmp_path / "q.onnx")]
    with pytest.raises(ModelError, match=r"does not run: .*no such value.*KEEP_FLOAT"):
        command.main([*arguments, "--data", str(write_images(tmp_path / "data"))])
    assert {file.name for file in tmp_path.iterdir()} == {"mixed.onnx", "data"}


def test_other_shapes_and_what_is_not_finite_are_no_agreement(
    tmp_path: Path, operator_library: Path
) -> None:
    model = mixed()
    onnx.save(model, tmp_path / "m.onnx")
    metadata = parse(read_metadata(str(tmp_path / "m.onnx")))
    x, library = images(), str(operator_library)
    content = model.SerializeToString()
    same = prove(model, content, metadata, [x[:4], x[4:]], library)
    assert (same.images, same.same) == (16, 16)
    assert same.decibels > 200
    x[0] = np.nan
    with pytest.raises(ModelError, match="others that are not finite"):
        prove(model, content, metadata, [x], library)


def test_four_bits_keep_what_is_large_and_lose_what_is_small() -> None:
    rng = np.random.default_rng()
    exponents = rng.integers(-12, 1, (5, 40)).astype(np.float64)
    exponents[:, 0] = [-3, 0, -7, -1, -20]
    exponents[4, 1:] -= 8
    weights = np.exp2(exponents) * rng.choice([-1.0, 1.0], exponents.shape)
    weights[3] = 0
    made = four_bits(pack(weights, 8), 40)
    kept = unpack(made.words, weights.shape, 4).astype(np.float64) * made.factor[:, None]
    largest = np.abs(weights).max(1, keepdims=True)
    large = np.abs(weights) >= largest / 64
    np.testing.assert_array_equal(kept[large], weights[large])
    assert (np.abs(kept - weights) <= largest / 128).all()
    noise = np.square(kept - weights).sum()
    assert made.decibels == pytest.approx(10 * np.log10(np.square(weights).sum() / noise))
    exact = four_bits(pack(np.exp2(rng.integers(-6, 1, (3, 8)).astype(np.float64)), 8), 8)
    assert exact.decibels == np.inf


@pytest.mark.parametrize(
    "network", [shiftaddnet, partial(deepshift_q, 5), partial(deepshift_ps, 5)]
)
def test_networks_of_the_field_are_integer(
    network: Callable[[], nn.Module], tmp_path: Path, operator_library: Path
) -> None:
    """Shift layers of five bits, adders, layers that multiply, and sums with their ReLU; compared
    layer by layer, none loses more than rounding costs."""
    size = (3, 32, 32)
    path = tmp_path / "authors.onnx"
    onnx.save(export_model(settle(network(), size).eval(), Spec(input_size=size)), path)
    library, out = str(operator_library), tmp_path / "authors.int8.onnx"
    arguments = [str(path), "--library", library, "--out", str(out), "--method", "minmax"]
    assert command.main([*arguments, "--data", str(write_images(tmp_path / "data", 8))]) == 0
    model = onnx.load(out)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert {"ShiftConv", "AdderConv", "Conv", "Gemm", "Add", "Relu"}.isdisjoint(kinds)
    assert kinds["QLinearShiftConv"] >= 20
    assert kinds["QLinearAdd"] == 9
    assert kinds["Transpose"] <= 6
    pair = Pair(ModelFile(path), ModelFile(out), out.with_suffix(".json"), library)
    x = np.random.default_rng().normal(size=(4, *size)).astype(np.float32)
    result = compare(pair, x, 0)
    assert sum(layer.isolated is not None for layer in result.layers) >= 29
    assert [layer.layer.name for layer in result.layers if layer.faulty] == []


def test_codes_of_layers_that_multiply() -> None:
    rng = np.random.default_rng()
    weight = rng.normal(size=(6, 4, 3, 3)).astype(np.float32)
    weight[2] = 0
    bias = rng.normal(size=6).astype(np.float32)
    bias[3], weight[3] = 3e6, 1e-6
    made = multipliers(weight, bias, 0.01)
    step = made.scale.reshape(-1, 1, 1, 1)
    assert (np.abs(made.weights - weight) <= 0.5001 * step).all()
    assert (made.codes[2] == ZERO_CODE).all()
    assert (made.codes.reshape(6, -1).max(1)[[0, 1, 4, 5]] >= 128).all()
    largest = np.abs(made.codes.astype(int) - ZERO_CODE).reshape(6, -1).max(1)
    assert largest[[0, 1, 4, 5]].tolist() == [127] * 4
    # A bias that would not fit 32 bits widens its channel's scale.
    assert largest[3] <= 1
    steps = 0.01 * made.scale.astype(np.float64)
    assert (np.abs(made.bias * steps - bias) <= 0.5001 * steps).all()


class Multiplying(nn.Module):
    """Convolutions of every kind, a linear layer without and with a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.ReLU(),
            nn.Conv2d(8, 12, (1, 3), padding=(0, 2), dilation=(1, 2), groups=4), nn.ReLU(),
        )  # fmt: skip
        self.hidden, self.out = nn.Linear(12, 16), nn.Linear(16, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x).mean((2, 3))
        return cast(Tensor, self.out(torch.relu(self.hidden(y))))


def test_layers_that_multiply_are_integer(tmp_path: Path, operator_library: Path) -> None:
    path, out = tmp_path / "m.onnx", tmp_path / "m.int8.onnx"
    onnx.save(exported(Multiplying()), path)
    library = str(operator_library)
    arguments = [str(path), "--library", library, "--out", str(out), "--method", "minmax"]
    assert command.main([*arguments, "--data", str(write_images(tmp_path / "data", 8))]) == 0
    kinds = Counter(node.op_type for node in onnx.load(out).graph.node)
    assert kinds["QLinearConv"] == 5
    assert {"Conv", "Gemm", "MatMul", "Relu"}.isdisjoint(kinds)
    pair = Pair(ModelFile(path), ModelFile(out), out.with_suffix(".json"), library)
    result = compare(pair, images(), 0)
    assert [layer.layer.name for layer in result.layers if layer.faulty] == []
    assert result.logits.decibels > 20

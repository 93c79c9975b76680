"""Every export is run and compared with its network before anybody gets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from export.errors import ExportError
from export.onnx_export import functions, proof, refusals, unfuse
from export.onnx_export import model as exporter
from export.onnx_export.graph import attribute
from export.onnx_export.model import TARGETS, Target, export_model
from export.operator_table import ACTIVATIONS
from export.operators import ShiftConv2d
from runtime.core import library as operator_libraries
from runtime.core import metadata
from tests.support.models.exported import (
    SIZE,
    TinyNet,
    custom_nodes,
    make_spec,
    randomise,
    reference,
    relative_error,
    run_onnxruntime,
)

Change = Callable[[onnx.ModelProto], None]


def scale_constant(name: str, factor: float) -> Change:
    def apply(model: onnx.ModelProto) -> None:
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        value = numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(value, name))

    return apply


def swap_operator(old: str, new: str) -> Change:
    def apply(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.op_type = new if node.op_type == old else node.op_type

    return apply


def change_what_is_written(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    write = exporter._write

    def wrong(*arguments: object) -> onnx.ModelProto:
        model = write(*arguments)  # type: ignore[arg-type]
        change(model)
        return model

    monkeypatch.setattr(exporter, "_write", wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scale_constant("grouped.0.scale", 1.2), "the first layer that differs is grouped.0"),
        (scale_constant("adder.0.W", 1.2), "the first layer that differs is adder.0"),
        (scale_constant("classifier.bias", 1.01), "the first layer that differs is classifier"),
        (swap_operator("GlobalAveragePool", "GlobalMaxPool"), "first layer .* is classifier"),
    ],
)
@pytest.mark.parametrize("with_library", [True, False])
def test_a_file_that_computes_something_else_is_refused(
    change: Change,
    message: str,
    with_library: bool,
    monkeypatch: pytest.MonkeyPatch,
    operator_library: Path,
) -> None:
    network = randomise(TinyNet())
    found = str(operator_library) if with_library else None
    monkeypatch.setattr(operator_libraries, "find", lambda: found)
    change_what_is_written(monkeypatch, change)
    with pytest.raises(ExportError, match=message) as refused:
        export_model(network, make_spec())
    assert "other outputs than the network" in str(refused.value)
    unchecked = export_model(network, make_spec(), check=False)
    assert custom_nodes(unchecked)


class Between(nn.Module):
    """Two layers with an activation between them, which is a module or a function."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a = ShiftConv2d(3, 8, 3)
        self.activation = activation
        self.b = ShiftConv2d(8, 7, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.activation(self.a(x))).mean((2, 3))
        return out


@pytest.mark.parametrize("wrong", ["a", "b"])
@pytest.mark.parametrize("form", ["module", "function"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_layer_that_differs_is_named_whatever_activation_is_fused_into_it(
    name: str, form: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    activation = ACTIVATIONS[name]
    if form == "module":
        between = Between(getattr(nn, activation.module)())
    else:
        between = Between(getattr(F, activation.function) if activation.function else lambda x: x)
    network = randomise(between)
    fused = {node.name: attribute(node, "activation") for node in custom_nodes(export(network))}
    assert fused == {"a": name, "b": "none"}
    change_what_is_written(monkeypatch, scale_constant(f"{wrong}.scale", 1.2))
    with pytest.raises(ExportError, match=rf"the first layer that differs is {wrong}$"):
        export(network)


def export(network: nn.Module) -> onnx.ModelProto:
    return export_model(network, make_spec())


@pytest.mark.parametrize("target", TARGETS)
def test_the_metadata_says_what_was_not_compared(target: Target) -> None:
    network = randomise(TinyNet())
    entries = [
        {e.key: e.value for e in export_model(network, make_spec(), target, check=c).metadata_props}
        for c in (True, False)
    ]
    assert "shiftadd.unchecked" not in entries[0]
    assert "not compared" in entries[1].pop("shiftadd.unchecked")
    assert entries[0] == entries[1]
    assert metadata.parse(entries[1]).target == target


def test_fused_activations_are_split_for_the_bodies() -> None:
    network = randomise(TinyNet())
    images = np.random.default_rng().normal(size=(3, *SIZE)).astype(np.float32)
    fused = export_model(network, make_spec())
    split = functions.add_bodies(unfuse.split_activations(fused))
    error = relative_error(run_onnxruntime(split, images), reference(network, images))
    assert error < 1e-5


def test_a_random_network_is_refused() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) + float(np.random.default_rng().normal())

    with pytest.raises(ExportError, match=r"^Noisy makes a value that is another one at each call"):
        export_model(Noisy(), make_spec())


class ByContent(nn.Module):
    """Takes a branch that the trace's image does not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 7, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.max() > 1:
            x = x / 255
        out: Tensor = self.layer(x).mean((2, 3))
        return out


def test_a_branch_by_content_is_refused() -> None:
    with pytest.raises(ExportError, match=r"other outputs than the network: .* random images"):
        export_model(ByContent(), make_spec())


def test_pytorchs_own_error_is_not_held_against_a_file() -> None:
    """A network whose float32 run cancels nearly everything: float64 tells right from wrong.

    Its values differ from place to place even for a constant image. A sum of equal values is
    rounded the same way at every step, and PyTorch and ONNX Runtime, which sum in other orders,
    are then more than the allowed factor apart in a quarter of all draws.
    """

    class Cancelling(nn.Module):
        places: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("places", torch.randn(SIZE))
            self.layer = nn.Conv2d(3, 7, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x * self.places) + 3e4
            logits: Tensor = (y.mean((2, 3)) - 3e4) * 10
            return logits

    export_model(Cancelling(), make_spec())


def test_the_images_differ_and_the_batches_are_one_and_three() -> None:
    runs = proof.observe(refusals.copy_of(randomise(TinyNet())), {"input": SIZE})
    assert [len(run.inputs[0]) for run in runs] == [3, 3, 1, 1]
    assert len(np.unique(runs[1].inputs[0])) == 1
    assert len(np.unique(runs[0].inputs[0])) > 1000

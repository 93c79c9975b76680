"""Simulated fixed-point activations, and the fine-tuning with them, on made-up images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from calibration.quantization import Range, grid_over
from calibration.quantize import quantize_model
from calibration.table import Table
from export.checkpoint import load_model
from export.models import find_model
from export.models.datasets import CIFAR10
from export.models.ghostshiftaddnet import Bottleneck, GhostShiftAddNet
from export.onnx_export.model import export_model
from export.operator_table import ACTIVATIONS
from export.operators import AdderConv2d
from export.training import finetune
from export.training.finetune import FineTuner, FineTuneRecipe
from export.training.fixed_point import (
    Activation,
    FixedPointNetwork,
    GridAdder,
    round_to_grid,
)
from export.training.recipe import TrainingError
from runtime.core.errors import ModelError
from tests.conftest import REPOSITORY
from tests.support.commands import in_process
from tests.support.models.exported import Array, custom_nodes, make_spec, randomise

pytestmark = pytest.mark.usefixtures("one_thread")

_SIZE = (3, 16, 16)
_CLASSES = 7


def _network() -> nn.Module:
    """Every kind of value of the large ones: shared scales, sums, an adder, a pooling."""
    rows = [Bottleneck(3, 8, 8, 2), Bottleneck(3, 16, 8, 1)]
    network = GhostShiftAddNet(rows, stem=8, stem_stride=1, head=16, classes=_CLASSES)
    return randomise(network, _SIZE)


def _float32(rng: np.random.Generator, low: float, high: float, count: int) -> Array:
    return rng.uniform(low, high, count).astype(np.float32)


def _exact_codes(x: Array, scale: float, zero_point: int) -> Array:
    """The epilogue of docs/operators.md, section 5.2, in NumPy."""
    reciprocal = np.float32(1) / np.float32(scale)
    return np.clip(np.rint(x * reciprocal) + np.float32(zero_point), 0, 255)


@pytest.mark.parametrize("limits", [(0.0, 3.7), (-1.3, 2.9), (-5.0, -0.1), (0.4, 8.0)])
def test_values_are_rounded_as_the_contract_says(
    rng: np.random.Generator, limits: tuple[float, float]
) -> None:
    x = _float32(rng, -9, 9, 5000)
    grid = grid_over("x", Range(*limits))
    expected = _exact_codes(x, grid.scale, grid.zero_point) - np.float32(grid.zero_point)
    out = round_to_grid(torch.from_numpy(x), grid).numpy()
    np.testing.assert_array_equal(out, expected * np.float32(grid.scale))


def test_ties_go_to_the_even_code() -> None:
    grid = grid_over("x", Range(-64.0, 63.5))
    assert (grid.scale, grid.zero_point) == (0.5, 128)
    x = torch.tensor([0.25, 0.75, -0.25, -0.75, 1.25, 99.0, -99.0])
    expected = [0.0, 1.0, 0.0, -1.0, 1.0, 63.5, -64.0]
    assert round_to_grid(x, grid).tolist() == expected


@pytest.mark.parametrize("bits", [8, 16])
def test_gradient_passes_within_the_range_and_stops_beyond(
    rng: np.random.Generator, bits: int
) -> None:
    grid = grid_over("x", Range(-1.0, 2.0), bits)
    edges = np.array([grid.low, grid.high], np.float32)
    beyond = np.nextafter(edges, np.array([-9, 9], np.float32))
    x = torch.from_numpy(np.concatenate([_float32(rng, -3, 4, 1000), edges, beyond]))
    weights = torch.randn(len(x))
    (gradient,) = torch.autograd.grad(
        round_to_grid(x.requires_grad_(), grid), x, grad_outputs=weights
    )
    within = (x >= grid.low) & (x <= grid.high)
    assert within[-4:].tolist() == [True, True, False, False]
    assert torch.equal(gradient, torch.where(within, weights, 0.0))


def test_sixteen_bits_are_nearly_exact(rng: np.random.Generator) -> None:
    x = torch.from_numpy(_float32(rng, -1, 3, 10_000))
    grid = grid_over("x", Range(-1.0, 3.0), 16)
    # Half a step, and float32's rounding of values up to 65535 steps.
    assert (round_to_grid(x, grid) - x).abs().max() <= grid.scale * (0.5 + 2.0**-7)

    network = _network()
    x = torch.randn(16, *_SIZE)
    fixed = FixedPointNetwork(network)
    fixed.calibrate([x])
    with torch.no_grad():
        expected, errors = network(x), {}
        for bits in (8, 16):
            fixed.bits = bits
            errors[bits] = float((fixed(x) - expected).norm() / expected.norm())
    # 257 times the steps. How one network's errors add up is chance: the median ratio is 270, and
    # of 150 networks none was below 25.
    assert errors[16] <= errors[8] / 10
    assert errors[8] > 1e-4


def test_float_network_is_left_as_it_is() -> None:
    network = _network()
    x = torch.randn(4, *_SIZE)
    fixed = FixedPointNetwork(network)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(fixed(x), network(x))
        fixed.calibrate([x])
        fixed.train()
        fixed.bits = 8
        fixed(x)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert {id(p) for p in fixed.parameters()} == {id(p) for p in network.parameters()}


def test_ranges_are_means_of_the_batches_extremes_and_move_in_training() -> None:
    fixed = FixedPointNetwork(nn.Sequential(nn.Identity()))
    (activation,) = fixed.activations
    fixed.calibrate(torch.tensor([[[-1.0, 2.0]], [[-3.0, 8.0]]]))
    assert (activation.low, activation.high, activation.batches) == (-2.0, 5.0, 2)
    fixed.eval()(torch.tensor([-50.0, 50.0]))
    assert (activation.low, activation.high) == (-2.0, 5.0)
    fixed.train()(torch.tensor([-5.0, 8.0]))
    assert (activation.low, activation.high) == (-3.0, 6.0)
    fixed.set_ranges([(0.0, 1.0, 10_000)])
    fixed(torch.tensor([0.0, 2.0]))
    assert activation.high == pytest.approx(1.01)


def _forms_of_activations() -> Iterator[Any]:
    for name, activation in ACTIVATIONS.items():
        if activation.function is None:
            continue
        module, function = getattr(nn, activation.module), getattr(F, activation.function)
        yield pytest.param(module(), id=f"{name}, a module")
        yield pytest.param(function, id=f"{name}, a function")
        in_place = partial(function, inplace=True)
        yield pytest.param(in_place, id=f"{name}, a function in place")


@pytest.mark.parametrize(
    "activation",
    [*_forms_of_activations(), torch.relu, torch.relu_, lambda x: x.relu(), lambda x: x.relu_()],
)
def test_an_activation_is_rounded_in_one_go_with_its_layer(
    activation: Callable[[Tensor], Tensor],
) -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 8, 3)
            self.activation = activation

        def forward(self, x: Tensor) -> Tensor:
            return self.activation(self.layer(x))

    network, x = Layer(), torch.randn(4, *_SIZE)
    fixed = FixedPointNetwork(network)
    assert [each.name for each in fixed.activations] == ["x", "layer"]
    fixed.calibrate([x])
    expected = network(x)
    assert fixed.activations[1].high == expected.max()
    assert fixed.activations[1].low == expected.min()


def test_concatenated_values_share_a_scale() -> None:
    fixed = FixedPointNetwork(_network())
    fixed.calibrate([torch.randn(4, *_SIZE)])
    named = {activation.name: activation for activation in fixed.activations}
    first, second = (named[f"blocks.0.expand.{part}.0"] for part in ("primary", "adder"))
    assert (first.low, first.high) != (second.low, second.high)
    assert first.grid(8) == second.grid(8)
    assert first.grid(8) != named["blocks.0.expand.depthwise.0"].grid(8)


@pytest.mark.parametrize("bias", [True, False])
def test_adder_weights_lie_on_the_grid_and_the_clamp_loses_nothing(bias: bool) -> None:
    layer = AdderConv2d(6, 5, 3, padding=1, bias=bias, eta=None)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    nn.init.normal_(layer.weight, 1.0, 3.0)
    source = Activation("x")
    source.low, source.high, source.bits = -0.5, 2.0, 8
    grid = source.grid(8)
    x = round_to_grid(torch.randn(2, 6, 7, 7), grid)
    rounding = 0.5 * grid.scale * layer.weight[0].numel()
    out, expected = GridAdder(layer, source)(x), layer(x)
    assert (out - expected).abs().max() <= rounding * (1 + 1e-4)

    with torch.no_grad():  # on the grid or beyond it nothing is rounded
        beyond = layer.weight + torch.sign(layer.weight) * 9
        on_grid = round_to_grid(layer.weight, grid)
        layer.weight.copy_(torch.where(torch.rand_like(beyond) < 0.5, beyond, on_grid))
    out, expected = GridAdder(layer, source)(x), layer(x)
    assert (out - expected).norm() <= 1e-6 * expected.norm()

    out.sum().backward()
    assert layer.weight.grad is not None
    assert bool((layer.weight.grad != 0).any(dim=0).all())


def _table(model: onnx.ModelProto, fixed: FixedPointNetwork) -> Table:
    """The simulated network's ranges as those of the exported model's values."""
    ranges = {each.name: Range(each.low, each.high) for each in fixed.activations}
    unnamed = {
        "Add": deque(ranges[name] for name in ranges if name.startswith("add")),
        "GlobalAveragePool": deque([ranges["pool"]]),
    }
    values = {"input": ranges["x"]}
    for node in model.graph.node:
        if node.name in ranges:
            values[node.output[0]] = ranges[node.name]
        elif node.op_type in unnamed:
            values[node.output[0]] = unnamed[node.op_type].popleft()
        else:  # shares its inputs' scale
            values[node.output[0]] = values[node.input[0]]
    return Table("tiny", "", "minmax", 1, "", values)


def _layer_codes(model: onnx.ModelProto, x: Array, library: Path) -> Iterator[tuple[str, Array]]:
    """What the integer layers with weights answer, uint8 [N,OH,OW,M], by name."""
    nodes = [node for node in custom_nodes(model) if node.op_type != "QLinearAdd"]
    model.graph.output.extend(onnx.ValueInfoProto(name=node.output[0]) for node in nodes)
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library))
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    codes = session.run([node.output[0] for node in nodes], {"input": x})
    return zip([node.name for node in nodes], codes, strict=True)


def test_simulation_agrees_with_the_integer_model(operator_library: Path) -> None:
    network = _network()
    x = torch.randn(16, *_SIZE)
    fixed = FixedPointNetwork(network)
    fixed.calibrate([x])
    fixed.bits = 8
    simulated: dict[str, Array] = {}

    def keep(activation: nn.Module, _inputs: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(activation, Activation)
        grid = activation.grid(8)
        codes = torch.round(out / grid.scale) + grid.zero_point
        simulated[activation.name] = codes.permute(0, 2, 3, 1).numpy()

    for activation in fixed.activations:
        activation.register_forward_hook(keep)
    with torch.no_grad():
        fixed(x)
    model = export_model(network, make_spec(_SIZE))
    integer = quantize_model(model, _table(model, fixed))
    names = set()
    for name, codes in _layer_codes(integer, x.numpy(), operator_library):
        names.add(name)
        # The same sums, scaled in another order in float32: a value within some 1e-5 steps of a tie
        # may go to the other code. That is rare, and what hangs on one such code is less than a
        # hundredth of a layer of 16 images; another rounding or scale changes a tenth or more.
        assert np.mean(simulated[name] != codes) <= 0.02, name
    assert len(names) == 3 + 2 * 6 + 1 + 2  # stem, head, classifier; modules, stride, shortcut


@pytest.mark.parametrize("bits", [8, 16])
def test_a_dead_activation_costs_nothing(bits: int) -> None:
    """Behind a head that answers 0 the logits are the classifier's bias, on the logits' grid."""
    network = _network()
    with torch.no_grad():
        _batch_norm(network).weight.zero_()
        _batch_norm(network).bias.zero_()
    fixed = FixedPointNetwork(network)
    x = torch.randn(4, *_SIZE)
    fixed.calibrate([x])
    fixed.bits = bits
    with torch.no_grad():
        expected = network(x)
        step = float(expected.max().clamp(min=0) - expected.min().clamp(max=0)) / (2**bits - 1)
        assert (fixed(x) - expected).abs().max() <= step * 0.51


def test_an_activation_that_is_not_finite_is_refused() -> None:
    network = _network()
    with torch.no_grad():
        _batch_norm(network).bias.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"head\.0: its range is nan\.\.nan, which is not finite"):
        FixedPointNetwork(network).calibrate([torch.randn(2, *_SIZE)])


def _batch_norm(network: nn.Module) -> nn.BatchNorm2d:
    head = network.get_submodule("head.1")
    assert isinstance(head, nn.BatchNorm2d)
    return head


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images a class, in the ImageFolder layout: noise about the class's own grey.

    They are the same every time, as the recipe's seed is: what the loss does in two epochs of three
    steps each depends on the images, and a run that passes today has to pass tomorrow.
    """
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("images")
    for label, name in enumerate(CIFAR10.labels):
        (folder / name).mkdir()
        for i in range(6):
            pixels = rng.normal(20 + 24 * label, 8, (32, 32, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def _finetune(images: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export.training.finetune", "ghostshiftaddnet"]
    command += ["--data", str(images), "--out", str(out), "--batch-size", "16"]
    command += ["--held-out", "12", *options]
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_finetuning_lowers_the_loss_and_resumes(images: Path, tmp_path: Path) -> None:
    fast = ("--learning-rate", "0.01")
    done = _finetune(images, tmp_path, "--epochs", "1", *fast)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "ghostshiftaddnet.fix8"
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    state["recipe"]["epochs"] = 2
    state["best"] = -1.0  # so that the second epoch is kept
    torch.save(state, run / "checkpoint.pt")
    done = _finetune(images, tmp_path, "--epochs", "2", *fast)
    assert done.returncode == 0, done.stderr
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [1, 2]
    assert log[1]["loss"] < log[0]["loss"]

    report = json.loads((run / "report.json").read_text())
    assert report["kept_epoch"] == 2
    assert report["top1_before"] == state["before"]
    assert set(report["top1_after"]) == {"float", "FIX16", "FIX8"}
    tuned, start = (
        load_model("ghostshiftaddnet", weights)[0].state_dict()
        for weights in (run / "model.safetensors", None)
    )
    assert not torch.equal(tuned["classifier.weight"], start["classifier.weight"])
    assert torch.equal(tuned["head.1.running_mean"], start["head.1.running_mean"])

    weights = ("--checkpoint", str(run / "model.safetensors"))
    refused = _finetune(images, tmp_path, "--epochs", "2", *fast, *weights)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith(
        "started from other weights; remove it to start afresh"
    )


def test_no_epochs_only_measure(images: Path, tmp_path: Path) -> None:
    done = _finetune(images, tmp_path, "--epochs", "0", "--bits", "16", "--test", str(images))
    assert done.returncode == 0, done.stderr
    run = tmp_path / "ghostshiftaddnet.fix16"
    assert [path.name for path in run.iterdir()] == ["report.json"]
    report = json.loads((run / "report.json").read_text())
    assert report["images"] == 60
    assert report["top1_after"] is None
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["float", "FIX16", "FIX8"]


def test_no_better_epoch_keeps_the_start(images: Path, tmp_path: Path) -> None:
    recipe = FineTuneRecipe(epochs=1, learning_rate=0.0, batch_size=16, held_out=12)
    tuner = FineTuner("ghostshiftaddnet", images, tmp_path, recipe)
    tuner.run()
    report = json.loads((tuner.out / "report.json").read_text())
    assert report["kept_epoch"] == 0
    assert report["top1_after"] == report["top1_before"]
    kept, _ = load_model("ghostshiftaddnet", tuner.out / "model.safetensors")
    start, _ = load_model("ghostshiftaddnet")
    expected = start.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in kept.state_dict().items())


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"bits": 4}, ("4 bits", "8 or 16")),
        ({"epochs": -1}, ("--epochs -1", "at least 0")),
        ({"limit": 4}, ("limit of 4", "batch of 16")),
        ({"held_out": 0}, ("--held-out 0", "at least 1")),
    ],
)
def test_settings_that_cannot_work_are_refused(
    images: Path, tmp_path: Path, options: dict[str, int], parts: tuple[str, ...]
) -> None:
    settings: dict[str, Any] = {"batch_size": 16, "held_out": 12, **options}
    with pytest.raises(TrainingError) as error:
        FineTuner("ghostshiftaddnet", images, tmp_path, FineTuneRecipe(**settings))
    assert all(part in str(error.value) for part in parts), error.value


def test_network_without_weights_is_refused(images: Path, tmp_path: Path) -> None:
    assert find_model("ghostnet").weights is None
    with pytest.raises(TrainingError, match="ghostnet: no trained weights to start from"):
        FineTuner("ghostnet", images, tmp_path, FineTuneRecipe())


def test_complaints_are_one_line(tmp_path: Path) -> None:
    data = ("--data", tmp_path / "nowhere", "--out", tmp_path)
    done = in_process(finetune.main, "ghostshiftaddnet", *data)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1

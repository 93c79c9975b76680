"""What cannot be exported is one line with the module, its class, the reason and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.utils import parametrize

from export.errors import ExportError
from export.onnx_export.model import export_model
from export.operators import AdderConv2d, ShiftConv2d
from tests.support.models.exported import TinyNet, make_spec, randomise


class Around(nn.Module):
    """[N, 3, H, W] to [N, 7], with `step` in a module of its own at inner.step."""

    class _Step(nn.Module):
        def __init__(self, step: Callable[[Tensor], Any]) -> None:
            super().__init__()
            self.step = step

        def forward(self, x: Tensor) -> Any:
            return self.step(x)

    def __init__(self, step: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer = AdderConv2d(3, 7, 1)
        self.inner = nn.Sequential()
        self.inner.add_module("step", self._Step(step))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(self.layer(x)).mean((2, 3))
        return out


class Doubled(AdderConv2d):
    def sum_terms(self, x: Tensor) -> Tensor:
        return 2 * super().sum_terms(x)


class OwnForward(ShiftConv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Stubborn(nn.Module):
    def train(self, mode: bool = True) -> Stubborn:
        return self

    def forward(self, x: Tensor) -> Tensor:
        return x


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = (number for number in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return x


def hooked(register: str) -> nn.Module:
    network = TinyNet()
    layer = network.get_submodule("adder.0")
    getattr(layer, register)(lambda *arguments: None)
    return network


def own_method_of_an_instance() -> nn.Module:
    network = TinyNet()
    layer = network.get_submodule("adder.0")
    layer.forward = lambda x: x
    return network


def with_layer(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.BatchNorm2d(8))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "own sum_terms": (
        lambda: with_layer(Doubled(3, 8, 1)),
        r"^0 \(Doubled\) has its own sum_terms",
    ),
    "own forward": (lambda: with_layer(OwnForward(3, 8, 1)), r"^0 \(OwnForward\) .* own forward"),
    "an instance's forward": (own_method_of_an_instance, r"^adder\.0 \(AdderConv2d\) .* forward"),
    "forward hook": (lambda: hooked("register_forward_hook"), r"^adder\.0 .* forward hook.*remove"),
    "pre-hook": (lambda: hooked("register_forward_pre_hook"), r"^adder\.0 .* forward hook"),
    "training mode": (lambda: nn.Sequential(Stubborn()), r"^0 \(Stubborn\) stays in training mode"),
    "dropout that is always on": (
        lambda: Around(lambda x: F.dropout(x, 0.5)),
        r"^inner\.step \(_Step\) is random in eval mode, too \(dropout\): let it depend on",
    ),
    "noise": (
        lambda: Around(lambda x: x + torch.randn_like(x)),
        r"^inner\.step \(_Step\) is random in eval mode, too \(randn_like\)",
    ),
    "no counterpart": (
        lambda: Around(lambda x: F.fractional_max_pool2d(x, 2, 2, _random_samples=x[:, :, 0, :2])),
        r"^inner\.step \(_Step\): fractional_max_pool2d has no counterpart in ONNX opset 13",
    ),
    "used in a way": (
        lambda: Around(lambda x: F.adaptive_max_pool2d(x, 5)),
        r"^inner\.step \(_Step\): adaptive_max_pool2d cannot be written in ONNX opset 13 as it is",
    ),
    "integers": (
        lambda: Around(lambda x: F.embedding(x, torch.zeros(3, 3))),
        r"^inner\.step \(_Step\) cannot be run on a float32 batch of the input size given: ",
    ),
    "argmax": (
        lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (-1, 1)), ArgMax()),
        r"output 0 of the network is int64: return float32 logits",
    ),
    "no tensor": (lambda: NoTensor(), r"output 0 of the network is of type str: return tensors"),
    "no batch": (lambda: Flat(), r"output 0 of the network has the shape \[2907\] for 3 "),
    "two inputs": (TwoInputs, r"^TwoInputs cannot be run .* missing 1 required positional"),
    "not copied": (Locked, r"^Locked cannot be copied \(.*generator.*copy\.deepcopy takes"),
    "not finite": (lambda: Logarithm(), r"output 0 of the network is not finite for 3 random"),
    "a wrong size": (lambda: nn.Sequential(nn.Conv2d(4, 7, 1)), r"^0 \(Conv2d\) cannot be run"),
}


class ArgMax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(1)


class NoTensor(nn.Module):
    def forward(self, x: Tensor) -> str:
        return "cat"


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten()


class Logarithm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)).log()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_one_line(
    name: str, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    build, message = REFUSED[name]
    with pytest.raises(ExportError, match=message) as refused:
        export_model(build(), make_spec())
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert [str(warning.message) for warning in recwarn] == []


def test_a_batch_in_the_control_flow_is_refused() -> None:
    def step(x: Tensor) -> Tensor:
        return x.relu() if x.shape[0] == 2 else x.sigmoid()

    message = r"^inner\.step \(_Step\) takes other steps for a batch of 2 than for one of 3"
    with pytest.raises(ExportError, match=message):
        export_model(Around(step), make_spec())


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def test_a_parametrised_layer_has_the_weights_that_it_computes() -> None:
    network = randomise(TinyNet())
    layer = network.get_submodule("adder.0")
    parametrize.register_parametrization(layer, "weight", Halved())
    expected = layer.get_parameter("parametrizations.weight.original") / 2
    for _ in range(2):  # the network itself keeps its parametrization
        model = export_model(network, make_spec())
        (weight,) = (t for t in model.graph.initializer if t.name == "adder.0.W")
        given = torch.from_numpy(numpy_helper.to_array(weight).copy())
        torch.testing.assert_close(given, expected.detach(), rtol=0, atol=0)
    assert parametrize.is_parametrized(layer, "weight")


def test_wrappers_are_taken_off() -> None:
    network = randomise(TinyNet())
    expected = export_model(network, make_spec()).SerializeToString(deterministic=True)
    for wrapped in (nn.DataParallel(network), torch.compile(network)):
        model = export_model(wrapped, make_spec())  # type: ignore[arg-type]
        assert model.SerializeToString(deterministic=True) == expected


def test_a_subclass_that_changes_nothing_that_is_computed_is_ours() -> None:
    class Named(AdderConv2d):
        def extra_repr(self) -> str:
            return "mine"

    model = export_model(with_layer(Named(3, 8, 1)), make_spec())
    assert [node.op_type for node in model.graph.node] == ["AdderConv"]


def test_a_network_in_training_mode_is_exported_in_eval_mode() -> None:
    network = nn.Sequential(AdderConv2d(3, 7, 1), nn.BatchNorm2d(7), nn.Dropout(0.5)).train()
    model = export_model(network, make_spec())
    assert [node.op_type for node in model.graph.node] == ["AdderConv"]
    assert network.training

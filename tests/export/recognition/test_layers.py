"""Each layer of the field, put into ours, against its own arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from export.operators import AdderConv2d, ShiftConv2d
from export.recognition import swap_layers
from tests.support.models import authors

LAYERS: dict[str, tuple[Callable[[], nn.Module], type[nn.Module]]] = {
    "adder2d": (lambda: authors.adder2d(6, 8, 3, 2, 1, bias=True), AdderConv2d),
    "Adder2D, sparse": (lambda: authors.Adder2D(6, 8, 3, 1, 1, sparsity=0.4), AdderConv2d),
    "Adder2D, sbm": (lambda: authors.Adder2D(6, 8, 3, 1, 1, quantize=True), AdderConv2d),
    "GhostShiftAddNet's, sbm": (
        lambda: authors.Adder2D(6, 8, 3, 1, 1, True, groups=6, quantize=True, full=True),
        AdderConv2d,
    ),
    "GhostShiftAddNet's, wageubn": (
        lambda: authors.Adder2D(
            6, 8, 3, 1, 1, groups=6, quantize=True, quantize_v="wageubn", full=True, sparsity=0.2
        ),
        AdderConv2d,
    ),
    "torchshiftadd's adder": (
        lambda: authors.GroupedAdder2D(6, 8, 3, 2, 1, groups=2, bias=True),
        AdderConv2d,
    ),
    **{
        f"PS, {bits} bits": (
            partial(authors.Conv2dShift, 6, 8, 3, 2, 1, 1, 2, weight_bits=bits),
            ShiftConv2d,
        )
        for bits in (3, 4, 5, 6, 8)
    },
    "PS, threshold": (lambda: authors.Conv2dShift(6, 8, 3, threshold=0.3), ShiftConv2d),
    "PS, without its bias": (
        lambda: authors.Conv2dShift(6, 8, 3, threshold=0.3, quant_bits=32, drops_bias=True),
        ShiftConv2d,
    ),
    "PS, even numbers": (
        lambda: authors.Conv2dShift(6, 8, 3, threshold=0.3, quant_bits=-1, bias=False),
        ShiftConv2d,
    ),
    **{
        f"Q, {bits} bits": (
            partial(authors.Conv2dShiftQ, 6, 8, 3, 1, 2, 2, weight_bits=bits),
            ShiftConv2d,
        )
        for bits in (3, 4, 5, 8)
    },
    "Q, weights above 1": (lambda: authors.Conv2dShiftQ(6, 8, 3, limited=False), ShiftConv2d),
    "linear PS": (lambda: authors.LinearShift(12, 5), ShiftConv2d),
    "linear Q": (lambda: authors.LinearShiftQ(12, 5), ShiftConv2d),
    "SEConv2d": (lambda: authors.SEConv2d(6, 8, 3, padding=1), nn.Conv2d),
    "SEConv2d of powers": (lambda: authors.SEConv2d(6, 8, 3, powers=True), ShiftConv2d),
    "SELinear": (lambda: authors.SELinear(12, 5), nn.Linear),
}


def sample(layer: nn.Module) -> Tensor:
    return torch.randn(3, 12) if hasattr(layer, "in_features") else 2 * torch.randn(3, 6, 9, 11)


def error(ours: nn.Module, theirs: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        expected = theirs.double()(x.double())
        return float((ours(x) - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_becomes_ours_with_its_roundings(name: str) -> None:
    make, kind = LAYERS[name]
    theirs = make().eval()
    ours, (swap,) = swap_layers(theirs, "keep")
    assert any(type(module) is kind for module in ours.modules())
    assert swap.ours == kind.__name__
    assert swap.checked
    # float32 rounds a sum here and there to the other side of a step.
    assert error(ours, theirs, sample(theirs)) < 1e-5


@pytest.mark.parametrize(
    "name", [name for name in LAYERS if not name.startswith(("Adder", "Ghost", "PS, even"))]
)
def test_without_its_fixed_point_a_layer_is_as_near_as_that_rounding(name: str) -> None:
    theirs = LAYERS[name][0]().eval()
    ours, (swap,) = swap_layers(theirs, "drop")
    x = sample(theirs)
    found = error(ours, theirs, x)
    assert found < 1e-4
    rounds = name.startswith(("PS", "Q", "SEConv2d")) or name == "linear Q"
    assert swap.rounds == rounds
    if rounds and "bias" not in name:
        # There is something to keep: without it the layer is further away than float32's own.
        assert found > 1e-6


def test_a_rounding_to_even_numbers_is_no_trifle() -> None:
    theirs = LAYERS["PS, even numbers"][0]().eval()
    ours, _ = swap_layers(theirs, "drop")
    assert error(ours, theirs, sample(theirs)) > 0.1


def test_a_layer_whose_kernel_is_missing_goes_by_what_it_carries() -> None:
    theirs = authors.Adder2D(6, 8, 3, 1, 1, quantize=True, full=True, runs=False).eval()
    ours, (swap,) = swap_layers(theirs)
    assert not swap.checked
    x = torch.randn(3, 6, 9, 9)
    with torch.no_grad():
        expected = theirs.double().means(x.double())
        assert float((ours(x) - expected).norm() / expected.norm()) < 1e-5


class Doubled(authors.Conv2dShift):
    """A subclass with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (lambda: Doubled(6, 8, 3), "its own forward differs by"),
        (lambda: _with(authors.Conv2dShift(6, 8, 3), padding_mode="circular"), "padding_mode"),
        (lambda: _with(authors.Conv2dShift(6, 8, 3), rounding="stochastic"), "stochastic"),
        (lambda: _with(authors.Conv2dShift(6, 8, 3), transposed=True), "transposed"),
        (lambda: _with(authors.Adder2D(6, 8, 3), groups=4), None),
        (lambda: _with(authors.GroupedAdder2D(6, 8, 3, groups=2), groups=4), "4 groups"),
        (lambda: _with(authors.Adder2D(6, 8, 3), quantize=True), "quantize_input_fw"),
    ],
)
def test_what_no_layer_of_ours_computes_is_refused_by_name(
    layer: Callable[[], nn.Module], why: str | None
) -> None:
    network = nn.Sequential(nn.ReLU(), layer())
    if why is None:
        assert isinstance(swap_layers(network)[0].get_submodule("1"), AdderConv2d)
        return
    with pytest.raises(ValueError, match=rf"^1 \(\w+\): .*{why}"):
        swap_layers(network)


def _with(layer: nn.Module, **attributes: object) -> nn.Module:
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


def test_a_hook_on_a_layer_is_refused() -> None:
    layer = authors.adder2d(6, 8, 3)
    layer.register_forward_hook(lambda _module, _inputs, output: output * 3)
    with pytest.raises(ValueError, match="forward hook"):
        swap_layers(nn.Sequential(layer))


def test_the_network_itself_is_left_alone_and_a_shared_layer_stays_shared() -> None:
    layer = authors.adder2d(6, 6, 1)
    network = nn.Sequential(layer, nn.BatchNorm2d(6), layer)
    swapped, swaps = swap_layers(network)
    assert network[0] is layer
    assert swapped.get_submodule("0") is swapped.get_submodule("2")
    assert [swap.name for swap in swaps] == ["0"]
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), ShiftConv2d(4, 4, 1, mode="ps"))
    assert swap_layers(plain) == (plain, [])

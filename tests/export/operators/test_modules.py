"""The trainable modules: gradients against formulas derived by hand, refusals, and learning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

from export.models import MODELS, find_model
from export.models.blocks import conv_bn
from export.operators import (
    AdderConv2d,
    ShiftConv2d,
    adder,
    batch_norm,
    native,
    round_to_power_of_two,
)
from runtime.core.elf import this_machine
from runtime.core.errors import ShiftAddError
from tests.support.cases import convolution as cases
from tests.support.cases.implementations import case_module, instruction_sets, output_shape
from tests.support.cases.reference import FLOAT32_TOLERANCE, Case, Float64

pytestmark = pytest.mark.usefixtures("one_thread")

Derivative = Callable[[Float64, Float64], Float64]

EXAMPLES = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
FLOAT64_TOLERANCE = 1e-12


@pytest.fixture
def native_kernels(training_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The training library's kernels serve AdderConv2d."""
    monkeypatch.setenv("SHIFTADD_TRAINING_LIBRARY", str(training_library))
    native.training_library.cache_clear()
    assert native.training_library() is not None
    yield
    native.training_library.cache_clear()


@pytest.fixture
def no_native_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdderConv2d has to do with torch alone."""
    monkeypatch.setattr(native, "training_library", lambda: None)


def hand_gradients(
    case: Case, grad: Float64, by_input: Derivative, by_weight: Derivative
) -> tuple[Float64, Float64]:
    """Gradients for x and w of sum(grad * y), where y sums terms over the window.

    `by_input` and `by_weight` give a term's derivatives from the x and the w in it.
    """
    top, left, bottom, right = case.pads
    x = np.pad(case.x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    weight = case.weight.astype(np.float64)
    grad_x, grad_w = np.zeros_like(x), np.zeros_like(weight)
    outputs, inputs = weight.shape[0] // case.group, weight.shape[1]
    for n, m, i, j in np.ndindex(grad.shape):
        first = m // outputs * inputs
        rows = i * case.strides[0] + case.dilations[0] * np.arange(weight.shape[2])
        columns = j * case.strides[1] + case.dilations[1] * np.arange(weight.shape[3])
        window = np.ix_([n], range(first, first + inputs), rows, columns)
        grad_x[window] += grad[n, m, i, j] * by_input(x[window][0], weight[m])
        grad_w[m] += grad[n, m, i, j] * by_weight(x[window][0], weight[m])
    height, width = case.x.shape[2:]
    return grad_x[:, :, top : top + height, left : left + width], grad_w


def gradients(module: nn.Module, x: Tensor, grad: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Autograd's gradients of sum(grad * module(x)) for x and for every parameter."""
    leaf = x.clone().requires_grad_()
    names, parameters = zip(*module.named_parameters(), strict=True)
    first, *others = torch.autograd.grad(module(leaf), [leaf, *parameters], grad)
    return first, dict(zip(names, others, strict=True))


def assert_equal_in_norm(
    got: Tensor, expected: Float64, magnitude: Float64, tolerance: float
) -> None:
    error = float(np.linalg.norm(got.detach().numpy() - expected))
    assert got.shape == expected.shape
    assert error <= tolerance * float(np.linalg.norm(magnitude))


def check_gradients(
    case: Case, module: nn.Module, by_input: Derivative, by_weight: Derivative
) -> dict[str, Tensor]:
    """Compares x's and w's gradients with the formulas; returns all parameters' gradients."""
    dtype = next(module.parameters()).dtype
    grad = torch.randn(output_shape(case), dtype=dtype)
    got_x, got = gradients(module, torch.from_numpy(case.x).to(dtype), grad)
    exact = grad.double().numpy()
    expected_x, expected_w = hand_gradients(case, exact, by_input, by_weight)
    # The sums of the absolute values that are added up, which rounding errors are relative to.
    magnitude_x, magnitude_w = hand_gradients(
        case,
        np.abs(exact),
        lambda x, w: np.abs(by_input(x, w)),
        lambda x, w: np.abs(x) + np.abs(w),
    )
    tolerance = FLOAT64_TOLERANCE if dtype == torch.float64 else FLOAT32_TOLERANCE
    assert_equal_in_norm(got_x, expected_x, magnitude_x, tolerance)
    if "weight" in got:
        assert_equal_in_norm(got["weight"], expected_w, magnitude_w, tolerance)
    return got


def shift_by_input(x: Float64, w: Float64) -> Float64:
    return w


def shift_by_weight(x: Float64, w: Float64) -> Float64:
    return x


def adder_by_input(x: Float64, w: Float64) -> Float64:
    return np.clip(w - x, -1.0, 1.0)


def adder_by_weight(x: Float64, w: Float64) -> Float64:
    return x - w


@EXAMPLES
@given(case=cases.cases("ShiftConv"))
def test_shift_q_gradient_passes_the_rounding(case: Case) -> None:
    check_gradients(case, case_module(case).double(), shift_by_input, shift_by_weight)


def test_shift_q_gradient_of_latent_weights_is_that_of_the_rounded_ones() -> None:
    latent = ShiftConv2d(5, 6, 3, 2, (1, 0, 2, 1), groups=1).double()
    rounded = ShiftConv2d(5, 6, 3, 2, (1, 0, 2, 1), groups=1).double()
    weight = latent.weight.detach()
    rounded.load_state_dict({"weight": round_to_power_of_two(weight, latent.min_exponent)})
    assert not torch.equal(weight, rounded.weight)
    x = torch.randn(2, 5, 9, 8, dtype=torch.float64)
    grad = torch.randn(latent(x).shape, dtype=torch.float64)
    got_x, got = gradients(latent, x, grad)
    expected_x, expected = gradients(rounded, x, grad)
    torch.testing.assert_close(got_x, expected_x)
    torch.testing.assert_close(got["weight"], expected["weight"])


@EXAMPLES
@given(case=cases.cases("ShiftConv"))
def test_shift_ps_gradients(case: Case) -> None:
    """W = 2^shift * sign: dW/dshift = W ln 2 and dW/dsign = 2^shift, inside the ranges."""
    module = case_module(case, "ps").double()
    shift, sign = (parameter.detach().clone() for parameter in module.parameters())
    generator = torch.Generator().manual_seed(case.x.size)
    moved = {
        "shift": shift + torch.rand(shift.shape, generator=generator) * 0.8 - 0.4,
        "sign": sign + torch.rand(sign.shape, generator=generator) * 0.8 - 0.4,
    }
    module.load_state_dict(moved)
    grad = torch.randn(output_shape(case), dtype=torch.float64)
    got_x, got = gradients(module, torch.from_numpy(case.x).double(), grad)
    expected_x, grad_w = hand_gradients(case, grad.numpy(), shift_by_input, shift_by_weight)
    inside = {
        "shift": (moved["shift"] >= -30) & (moved["shift"] <= 0),
        "sign": moved["sign"].abs() <= 1,
    }
    by_shift = grad_w * case.weight * math.log(2) * inside["shift"].numpy()
    by_sign = grad_w * np.exp2(shift.numpy()) * inside["sign"].numpy()
    assert_equal_in_norm(got_x, expected_x, expected_x, 1e-9)
    assert_equal_in_norm(got["shift"], by_shift, by_shift, 1e-9)
    assert_equal_in_norm(got["sign"], by_sign, by_sign, 1e-9)


@EXAMPLES
@given(case=cases.cases("AdderConv"))
def test_adder_gradients_float64(case: Case) -> None:
    check_gradients(case, case_module(case).double(), adder_by_input, adder_by_weight)


@EXAMPLES
@given(case=cases.cases("AdderConv"))
def test_adder_gradients_of_the_native_kernels(native_kernels: None, case: Case) -> None:
    check_gradients(case, case_module(case), adder_by_input, adder_by_weight)


@EXAMPLES
@given(case=cases.cases("AdderConv"))
def test_adder_gradients_without_the_native_kernels(no_native_kernels: None, case: Case) -> None:
    check_gradients(case, case_module(case), adder_by_input, adder_by_weight)


@pytest.mark.parametrize("isa", instruction_sets())
@pytest.mark.parametrize("shape", [(4097, 70, 33), (3, 4608, 5), (1, 1, 1), (257, 16, 130)])
def test_native_kernels_agree_with_torch(
    native_kernels: None, monkeypatch: pytest.MonkeyPatch, isa: str, shape: tuple[int, int, int]
) -> None:
    monkeypatch.setenv("SHIFTADD_CPU_ISA", isa)
    rows, depth, outputs = shape
    x, w, grad = torch.randn(rows, depth), torch.randn(outputs, depth), torch.randn(rows, outputs)
    forward = torch.stack([(x.double() - row).abs().sum(1) for row in w.double()], 1)
    by_x = torch.zeros(rows, depth, dtype=torch.float64)
    magnitude = torch.zeros_like(by_x)
    for g, row in zip(grad.double().T, w.double(), strict=True):
        part = g[:, None] * (row - x.double()).clamp(-1, 1)
        by_x += part
        magnitude += part.abs()
    y = native.adder_forward(x, w)
    assert_equal_in_norm(y, -forward.numpy(), forward.numpy(), FLOAT32_TOLERANCE)
    got = native.adder_input_grad(x, w, grad)
    assert_equal_in_norm(got, by_x.numpy(), magnitude.numpy(), FLOAT32_TOLERANCE)


def test_an_unknown_instruction_set_is_refused(
    native_kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of the operator library (tests/plugins/test_operators.py)."""
    monkeypatch.setenv("SHIFTADD_CPU_ISA", "mmx")
    x, w = torch.randn(3, 4), torch.randn(2, 4)
    with pytest.raises(ShiftAddError, match=r"^SHIFTADD_CPU_ISA: expected one of .*portable.*mmx"):
        native.adder_forward(x, w)
    with pytest.raises(ShiftAddError, match=r"^SHIFTADD_CPU_ISA: expected one of .*portable.*mmx"):
        native.adder_input_grad(x, w, torch.randn(3, 2))


@pytest.mark.parametrize("activation", [False, True])
def test_batch_norm_takes_a_slice_of_a_gradient(activation: bool) -> None:
    mine = conv_bn(nn.Identity(), 6, activation)
    exact = nn.Sequential(nn.BatchNorm2d(6), *([nn.ReLU()] if activation else [])).double()
    for parameter in mine.parameters():
        nn.init.normal_(parameter)
    exact[0].load_state_dict(mine[1].state_dict())
    x = torch.randn(5, 6, 4, 3).to(memory_format=torch.channels_last)
    grad = torch.randn(5, 9, 4, 3).to(memory_format=torch.channels_last)[:, 2:8]
    with mock.patch.object(batch_norm, "_channels_last", wraps=batch_norm._channels_last) as hook:
        got_x, got = gradients(mine, x, grad)
    assert hook.call_count == 1
    assert batch_norm._channels_last(grad).is_contiguous(memory_format=torch.channels_last)
    expected_x, expected = gradients(exact, x.double(), grad.double())
    torch.testing.assert_close(got_x.double(), expected_x, rtol=1e-4, atol=1e-5)
    for name in ("weight", "bias"):
        torch.testing.assert_close(
            got[f"1.{name}"].double(), expected[f"0.{name}"], rtol=1e-4, atol=1e-4
        )


def test_foreign_library_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "libshiftadd_training.so"
    monkeypatch.setenv("SHIFTADD_TRAINING_LIBRARY", str(path))
    native.training_library.cache_clear()
    with pytest.raises(ShiftAddError, match="no such file"):
        native.training_library()
    path.write_bytes(b"no library")
    with pytest.raises(ShiftAddError, match="make plugins"):
        native.training_library()
    machine = "aarch64" if this_machine() != "aarch64" else "x86-64"
    monkeypatch.setattr(native, "machine_of", lambda _: machine)
    with pytest.raises(ShiftAddError, match=rf"\(it is built for {machine}, and this machine is"):
        native.training_library()
    native.training_library.cache_clear()


@pytest.mark.parametrize("groups", [1, 3])
def test_adaptive_learning_rate_sets_the_norm_and_keeps_the_direction(groups: int) -> None:
    plain = AdderConv2d(6, 9, 3, padding=1, groups=groups, eta=None).double()
    scaled = AdderConv2d(6, 9, 3, padding=1, groups=groups, eta=0.2).double()
    scaled.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, 7, 5, dtype=torch.float64)
    grad = torch.randn(2, 9, 7, 5, dtype=torch.float64)
    plain_x, expected = gradients(plain, x, grad)
    scaled_x, got = gradients(scaled, x, grad)
    torch.testing.assert_close(scaled_x, plain_x)
    parts = zip(got["weight"].chunk(groups), expected["weight"].chunk(groups), strict=True)
    for mine, direction in parts:
        assert mine.norm().item() == pytest.approx(0.2 * mine.numel() ** 0.5, rel=1e-12)
        torch.testing.assert_close(mine / mine.norm(), direction / direction.norm())


@pytest.mark.parametrize("kind", [ShiftConv2d, AdderConv2d])
def test_bias_and_memory_formats(kind: type[ShiftConv2d] | type[AdderConv2d]) -> None:
    module = kind(6, 4, 3, padding=1, bias=True).double()
    bias = torch.randn(4, dtype=torch.float64)
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    without = module(x).detach()
    assert module.bias is not None
    with torch.no_grad():
        module.bias.copy_(bias)
    torch.testing.assert_close(module(x), without + bias.view(-1, 1, 1))
    torch.testing.assert_close(
        module(x.contiguous(memory_format=torch.channels_last)), without + bias.view(-1, 1, 1)
    )
    torch.testing.assert_close(
        module(x.transpose(2, 3).contiguous().transpose(2, 3)), without + bias.view(-1, 1, 1)
    )


@pytest.mark.parametrize(
    ("values", "lowest", "expected"),
    [
        ([0.0, 1.0, -1.0, 0.75, 0.7, 3.0], -7, [0.0, 1.0, -1.0, 1.0, 0.5, 1.0]),
        ([2**-7, -(2**-9), 1e-30], -7, [2**-7, -(2**-7), 2**-7]),
        ([0.3, -0.1, 0.011], -6, [0.25, -0.125, 2**-6]),
    ],
)
def test_round_to_power_of_two(values: list[float], lowest: int, expected: list[float]) -> None:
    assert round_to_power_of_two(torch.tensor(values), lowest).tolist() == expected


@pytest.mark.parametrize("mode", ["q", "ps"])
@pytest.mark.parametrize("bits", [2, 4, 5, 6])
def test_fresh_shift_weights_are_powers_of_two_in_range(mode: Any, bits: int) -> None:
    module = ShiftConv2d(8, 8, 3, mode=mode, bits=bits)
    weight = module.effective_weight().detach()
    exponents = torch.log2(weight.abs()[weight != 0])
    lowest = -(2 ** (bits - 1) - (1 if mode == "q" else 2))
    assert torch.equal(exponents, exponents.round())
    assert exponents.min() >= max(lowest, -30)
    assert exponents.max() <= 0


def test_a_shift_weight_of_zero_is_kept_and_receives_a_gradient() -> None:
    module = ShiftConv2d(1, 1, 1)
    module.load_state_dict({"weight": torch.zeros(1, 1, 1, 1)})
    _, got = gradients(module, torch.full((1, 1, 2, 2), 3.0), torch.ones(1, 1, 2, 2))
    assert module(torch.ones(1, 1, 2, 2)).abs().max() == 0
    assert got["weight"].item() == 12.0


@pytest.mark.parametrize("kind", [ShiftConv2d, AdderConv2d])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"groups": 4}, "in_channels 6"),
        ({"groups": 0}, "groups 0"),
        ({"out_channels": 0}, "out_channels 0"),
        ({"groups": 3, "out_channels": 4}, "out_channels 4"),
        ({"kernel_size": 0}, "kernel_size"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size"),
        ({"stride": 0}, "stride"),
        ({"stride": (1, 1.5)}, "stride"),
        ({"dilation": -1}, "dilation"),
        ({"padding": -1}, "padding"),
        ({"padding": (1, 2, 3)}, "padding"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    kind: type[nn.Module], arguments: dict[str, Any], words: str
) -> None:
    fitting = {"in_channels": 6, "out_channels": 6, "kernel_size": 3}
    with pytest.raises(ValueError, match=words):
        kind(**(fitting | arguments))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"mode": "x"}, "mode"), ({"bits": 1}, "bits"), ({"bits": 7}, "bits"),
     ({"min_exponent": 1}, "min_exponent"), ({"min_exponent": -127}, "min_exponent"),
     ({"max_exponent": -1}, "max_exponent"),
     ({"span": 0}, "span"), ({"span": 7, "mode": "ps"}, "span")],
)  # fmt: skip
def test_shift_ranges_that_do_not_exist_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ShiftConv2d(3, 3, 1, **arguments)


def test_a_span_follows_each_channel_s_largest_weight() -> None:
    """Against a loop over single weights; channels of very different size, one of zeros."""
    layer = ShiftConv2d(4, 6, 3, bits=6, span=3)
    size = 2.0 ** -torch.arange(0, 12, 2).view(-1, 1, 1, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape) * size * 0.3)
        layer.weight[2] = 0
    for latent, rounded in zip(layer.weight, layer.effective_weight(), strict=True):
        exponents = [round(math.log2(abs(w))) for w in latent.flatten().tolist() if w]
        top = min(max(exponents, default=0), 0)
        for w, got in zip(latent.flatten().tolist(), rounded.flatten().tolist(), strict=True):
            exponent = min(max(round(math.log2(abs(w))), top - 2), top) if w else 0
            assert got == pytest.approx(math.copysign(2.0**exponent, w) if w else 0, rel=1e-6)


@pytest.mark.parametrize("kind", [ShiftConv2d, AdderConv2d])
@pytest.mark.parametrize("shape", [(1, 5, 9, 9), (6, 9, 9), (1, 6, 9, 9, 1), (1, 6, 4, 9)])
def test_inputs_that_do_not_fit_are_refused(kind: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected an input|does not fit"):
        kind(6, 6, 5)(torch.randn(shape))


@pytest.mark.parametrize("mode", ["q", "ps"])
def test_a_small_network_learns(mode: Any) -> None:
    """Which quadrant of a noisy picture is bright: chance is 1.39 nats."""
    generator = torch.Generator().manual_seed(7)
    target = torch.randint(4, (64,), generator=generator)
    pictures = torch.randn(64, 1, 8, 8, generator=generator) * 0.5
    for picture, quadrant in zip(pictures, target.tolist(), strict=True):
        row, column = divmod(quadrant, 2)
        picture[0, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 1.5
    torch.manual_seed(7)
    network = nn.Sequential(
        ShiftConv2d(1, 8, 3, 2, 1, mode=mode),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        AdderConv2d(8, 12, 3, 2, 1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        ShiftConv2d(12, 4, 2, mode=mode, bias=True),
        nn.Flatten(),
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(pictures), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] < 0.7


def parameters(name: str) -> int:
    return sum(parameter.numel() for parameter in find_model(name).build().parameters())


@pytest.mark.parametrize("name", ["ghostshiftaddnet", "ghostshiftaddnet_imagenet"])
def test_ghostshiftaddnet_has_no_multiplying_layer(name: str) -> None:
    kinds = {type(module) for module in find_model(name).build().modules()}
    multiplying = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.MultiheadAttention)
    assert {ShiftConv2d, AdderConv2d} <= kinds
    assert not [kind for kind in kinds if issubclass(kind, multiplying)]


def test_parameter_counts() -> None:
    counts = {name: parameters(name) for name in MODELS}
    assert counts["ghostshiftaddnet"] <= counts["ghostnet_cifar10"] / 2
    assert 0.25 <= counts["ghostshiftaddnet_imagenet"] / counts["ghostnet"] <= 0.40
    assert counts["ghostnet"] == pytest.approx(5.2e6, rel=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_networks_give_one_logit_a_label(name: str) -> None:
    spec = find_model(name)
    network = spec.build().eval()
    with torch.no_grad():
        logits = network(torch.randn(2, *spec.input_size))
    assert logits.shape == (2, len(spec.labels))
    assert torch.isfinite(logits).all()


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"resnet.*ghostnet.*ghostshiftaddnet"):
        find_model("resnet")


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_an_adders_output_has_the_memory_format_of_its_input(kernel: int, groups: int) -> None:
    layer = AdderConv2d(6, 8, kernel, padding=kernel // 2, groups=groups, bias=True)
    x = torch.randn(2, 6, 5, 7)
    contiguous = layer(x)
    last = layer(x.contiguous(memory_format=torch.channels_last))
    assert contiguous.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(contiguous, last, rtol=0, atol=0)
    contiguous.view(2, -1)  # the authors' last line before the classifier
    half = torch.randn(2, 12, 5, 7).contiguous(memory_format=torch.channels_last)[:, :6]
    assert layer(half).is_contiguous(memory_format=torch.channels_last)
    assert layer(torch.randn(2, 12, 5, 7)[:, :6]).is_contiguous()


def test_a_channels_last_1x1_adder_copies_nothing_but_its_output() -> None:
    x = torch.randn(2, 6, 5, 7).contiguous(memory_format=torch.channels_last)
    layer = AdderConv2d(6, 8, 1)
    assert layer.window.patches(x).data_ptr() == x.data_ptr()
    sums = torch.randn(70, 8)
    with mock.patch.object(adder, "_forward", return_value=sums):
        assert layer(x).data_ptr() == sums.data_ptr()

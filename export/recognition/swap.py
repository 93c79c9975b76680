"""Puts layers of ours in the place of the authors', each checked against the one it replaces."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from export.operators import AdderConv2d, ShiftConv2d
from export.recognition import adder, shift, smart_exchange
from export.recognition.carried import bias_of, number, pair, tensor
from export.recognition.modules import RoundedInput

FixedPoint = Literal["drop", "keep"]
FIXED_POINT: tuple[FixedPoint, ...] = get_args(FixedPoint)

# The layers' own float32 sums come in another order; rounding an input on the other side of a
# step moves one term by a step.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Swap:
    """One layer that was replaced.

    Attributes:
        name: the module's path.
        theirs, ours: the two classes' names.
        rounds: whether the author's layer rounds its input to fixed point.
        checked: whether the author's own forward ran here and agreed.
    """

    name: str
    theirs: str
    ours: str
    rounds: bool
    checked: bool


def swap_layers(
    module: nn.Module, fixed_point: FixedPoint = "drop"
) -> tuple[nn.Module, list[Swap]]:
    """A copy of `module` in eval mode with the authors' layers replaced, and what was replaced.

    The module itself is returned, as it is, where it has none. A layer that is used twice is
    replaced by one layer.

    Args:
        fixed_point: "drop" leaves the rounding of inputs to fixed point out; "keep" keeps it, and
            that of the biases.

    Raises ValueError, naming the layer, for one that is recognised and that no layer of ours
    computes, or whose own forward computes something else.
    """
    if not any(True for _ in _recognised(module)):
        return module, []
    result = copy.deepcopy(module).eval()
    replaced: dict[nn.Module, nn.Module] = {}
    swaps = []
    for name, layer in list(_recognised(result)):
        if layer not in replaced:
            replaced[layer], swap = _swap(name, layer, fixed_point == "keep")
            swaps.append(swap)
        if layer is result:
            return replaced[layer], swaps
        parent, _, child = name.rpartition(".")
        setattr(result.get_submodule(parent), child, replaced[layer])
    return result, swaps


def _recognised(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in module.named_modules(remove_duplicate=False):
        if isinstance(layer, (ShiftConv2d, AdderConv2d)):
            continue
        if any(is_one(layer) for is_one in _KINDS):
            yield name, layer


_KINDS = (adder.is_adder, shift.is_shift, smart_exchange.is_smart_exchange)


def _swap(name: str, layer: nn.Module, keep: bool) -> tuple[nn.Module, Swap]:
    title = f"{name or 'the network'} ({type(layer).__name__})"
    try:
        _refuse_hooks(layer)
        own = _own_output(layer)
        exact = _candidates(layer, True)
        index = 0 if own is None else _agreeing(layer, exact, own)
        ours = exact[index] if keep else _candidates(layer, False)[index]
    except ValueError as error:
        raise ValueError(f"{title}: {error}") from error
    rounds = not adder.is_adder(layer) and isinstance(exact[index], RoundedInput)
    return ours.eval(), Swap(name, type(layer).__name__, _kind(ours), rounds, own is not None)


def _refuse_hooks(layer: nn.Module) -> None:
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise ValueError("a forward hook on it cannot be exported: remove it")


def _candidates(layer: nn.Module, keep: bool) -> list[nn.Module]:
    """What the layer may be: more than one where what it carries leaves a question open."""
    if adder.is_adder(layer):
        return [adder.our_adder(layer)]
    if smart_exchange.is_smart_exchange(layer):
        return [smart_exchange.our_layer(layer, keep_fixed_point=keep)]
    found = [shift.our_shift(layer, keep_fixed_point=keep)]
    if bias_of(layer) is not None:
        found.append(shift.our_shift(layer, keep_fixed_point=keep, with_bias=False))
    return found


def _agreeing(layer: nn.Module, candidates: list[nn.Module], own: Tensor) -> int:
    """The index of the candidate that gives `own`, the output of the layer's own forward.

    Raises ValueError where none does.
    """
    errors = [_relative(candidate, layer, own) for candidate in candidates]
    best = min(range(len(errors)), key=errors.__getitem__)
    if not errors[best] <= _TOLERANCE:
        raise ValueError(
            f"its own forward differs by {errors[best]:.1e} of its output from what its "
            "parameters say: a forward that was changed cannot be exported"
        )
    return best


def _relative(candidate: nn.Module, layer: nn.Module, own: Tensor) -> float:
    with torch.no_grad():
        ours: Tensor = copy.deepcopy(candidate).eval()(_sample(layer))
    if ours.shape != own.shape:
        raise ValueError(f"its own output is {tuple(own.shape)}, not {tuple(ours.shape)}")
    norm = float(own.norm())
    return float((ours - own).norm()) / norm if norm else float((ours - own).norm())


def _own_output(layer: nn.Module) -> Tensor | None:
    """What the layer's own forward gives for a small input; None where it does not run here."""
    own = copy.deepcopy(layer).float().eval()
    if hasattr(own, "use_kernel"):
        setattr(own, "use_kernel", False)  # noqa: B010 - not an attribute of every module
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = own(_sample(layer))
    # An extension that is missing shows as whatever its author's code makes of that.
    except Exception:
        return None
    return output if isinstance(output, Tensor) else None


def _sample(layer: nn.Module) -> Tensor:
    """A random input for the layer, the same at every call, on which roundings show."""
    generator = torch.Generator().manual_seed(0)
    channels = number(layer, ("input_channel", "in_channels", "in_features"), 0)
    weight = _any_weight(layer)
    if not channels and weight is not None:
        channels = weight.shape[1] * number(layer, ("groups",), 1)
    if (weight is not None and weight.dim() == 2) or hasattr(layer, "in_features"):
        return torch.randn(4, channels, generator=generator)
    kernel, stride = pair(layer, "kernel_size", 3), pair(layer, "stride", 1)
    dilation = pair(layer, "dilation", 1)
    height, width = (k * d + 2 * s for k, s, d in zip(kernel, stride, dilation, strict=True))
    return torch.randn(2, channels, height, width, generator=generator)


def _any_weight(layer: nn.Module) -> Tensor | None:
    for name in ("adder", "shift", "weight"):
        found = tensor(layer, name)
        if found is not None:
            return found
    return None


def _kind(ours: nn.Module) -> str:
    kinds = (ShiftConv2d, AdderConv2d, nn.Conv2d, nn.Linear)
    return next(type(m).__name__ for m in ours.modules() if isinstance(m, kinds))

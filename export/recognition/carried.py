"""What an author's layer carries: its tensors and its settings, whatever they call them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

Pair = tuple[int, int]


def tensor(layer: nn.Module, name: str) -> Tensor | None:
    """The parameter, buffer or plain tensor `name` of the layer; None where there is none."""
    value = getattr(layer, name, None)
    return value if isinstance(value, Tensor) else None


def bias_of(layer: nn.Module) -> Tensor | None:
    """The bias [M]: `bias` where that is a tensor, else `b`, with which `bias` is a flag."""
    value = tensor(layer, "bias")
    return tensor(layer, "b") if value is None else value


def pair(layer: nn.Module, name: str, default: int) -> Pair:
    """A setting that may be a number or two, as (height, width).

    Raises ValueError for anything else, such as padding by a word.
    """
    value: Any = getattr(layer, name, default)
    both = (value, value) if isinstance(value, int) else value
    fits = isinstance(both, Sequence) and len(both) == 2 and all(isinstance(v, int) for v in both)
    if not fits or isinstance(both, str):
        raise ValueError(f"{name}={value!r} is not one or two integers")
    return both[0], both[1]


def number(layer: nn.Module, names: Sequence[str], default: int) -> int:
    """The first of these settings that the layer has as an integer."""
    for name in names:
        value = getattr(layer, name, None)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return default


def refuse_unusual(layer: nn.Module) -> None:
    """ValueError for settings that no layer of ours has: transposed, padded otherwise, random."""
    if getattr(layer, "transposed", False):
        raise ValueError("a transposed convolution has no shift or adder operator")
    mode = getattr(layer, "padding_mode", "zeros")
    if mode != "zeros":
        raise ValueError(f"padding_mode={mode!r} cannot be exported, only 'zeros'")
    if getattr(layer, "rounding", None) == "stochastic":
        raise ValueError("rounding='stochastic' gives other weights in every run")

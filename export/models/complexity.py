"""What a network costs: parameters, and terms summed a forward pass, by the operation they take."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.models.blocks import SqueezeExcite
from export.operators import AdderConv2d, ShiftConv2d


@dataclass
class Complexity:
    """Counts for one image. A term is one product or one absolute difference of a layer's sum.

    Attributes:
        parameters: trainable numbers.
        multiply_terms: of Conv2d and Linear layers.
        shift_terms: of ShiftConv2d layers.
        adder_terms: of AdderConv2d layers.
        gate_multiplications: elementwise products of squeeze-excitation blocks.
        weight_bytes: of the layers' weights as deployed: half a byte a shift weight (4-bit codes),
            four bytes any other.
    """

    parameters: int = 0
    multiply_terms: int = 0
    shift_terms: int = 0
    adder_terms: int = 0
    gate_multiplications: int = 0
    weight_bytes: int = 0

    @property
    def multiplication_free(self) -> bool:
        """Whether no product is left (BatchNorm folds into one scale an output channel)."""
        return self.multiply_terms == 0 and self.gate_multiplications == 0


def measure(model: nn.Module, input_size: tuple[int, int, int]) -> Complexity:
    """Counts `model` on one image of `input_size` (C, H, W), by a forward pass."""
    total = Complexity(parameters=sum(p.numel() for p in model.parameters()))
    counted = (nn.Conv2d, nn.Linear, ShiftConv2d, AdderConv2d, SqueezeExcite)

    def count(layer: nn.Module, _inputs: tuple[Tensor, ...], out: Tensor) -> None:
        if isinstance(layer, SqueezeExcite):
            total.gate_multiplications += out.numel()
            return
        weights = _weight_count(layer)
        terms = weights * (out.numel() // out.shape[1])
        total.weight_bytes += weights // 2 if isinstance(layer, ShiftConv2d) else weights * 4
        if isinstance(layer, ShiftConv2d):
            total.shift_terms += terms
        elif isinstance(layer, AdderConv2d):
            total.adder_terms += terms
        else:
            total.multiply_terms += terms

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, counted)]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_size))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return total


def _weight_count(layer: nn.Module) -> int:
    weight = layer.shift if getattr(layer, "mode", None) == "ps" else layer.weight
    assert isinstance(weight, Tensor)
    return weight.numel()

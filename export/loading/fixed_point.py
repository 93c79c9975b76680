"""What the rounding of inputs to fixed point, which DeepShift's layers have, changes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from calibration.comparison.inputs import random_inputs
from export.loading.options import OpenedModel
from export.recognition import FixedPoint, swap_layers

_SAMPLES, _SEED = 4, 0


def effect(opened: OpenedModel, fixed_point: FixedPoint) -> Iterator[str]:
    """A line for a network whose layers round: what was done about it, and its measured effect."""
    rounding = sum(swap.rounds for swap in opened.swaps)
    if not rounding:
        return
    difference = measure(opened.original, opened.spec.input_size)
    layers = f"{rounding} layer{'s' if rounding > 1 else ''}"
    kept = fixed_point == "keep"
    hint = "" if kept else "; --fixed-point keep (FIXED_POINT=keep) writes it"
    yield (
        f"fixed point {'kept' if kept else 'left out'}: {layers} round their input, which changes "
        f"the outputs by {difference:.1e} of their norm on {_SAMPLES} random inputs{hint}"
    )


def measure(network: nn.Module, input_size: tuple[int, int, int]) -> float:
    """||without the rounding - with it|| / ||with it||, over the logits of random inputs."""
    images = torch.from_numpy(random_inputs(_SAMPLES, input_size, _SEED))
    with torch.no_grad():
        kept: Tensor = swap_layers(network, "keep")[0](images).double()
        dropped: Tensor = swap_layers(network, "drop")[0](images).double()
    return float((dropped - kept).norm() / kept.norm())

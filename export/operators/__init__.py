"""The operators as trainable PyTorch modules (docs/operators.md, section 4)."""

from export.operators.adder import AdderConv2d, adder_conv2d
from export.operators.shift import ShiftConv2d, round_to_power_of_two

__all__ = ["AdderConv2d", "ShiftConv2d", "adder_conv2d", "round_to_power_of_two"]

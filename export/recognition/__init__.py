"""Layers of the field, as their authors write them, told by what they carry and put into ours."""

from export.recognition.swap import FIXED_POINT, FixedPoint, Swap, swap_layers

__all__ = ["FIXED_POINT", "FixedPoint", "Swap", "swap_layers"]

"""Which values of a graph share one scale, and the scale that each takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from calibration.table import Range, quantization


@dataclass(frozen=True)
class Scale:
    """A code q, uint8, stands for `scale * (q - zero_point)`.

    Attributes:
        name: of the values that share it: of their first one.
    """

    name: str
    scale: np.float32
    zero_point: int

    @property
    def grid(self) -> tuple[np.float32, np.float32]:
        """The least and the largest value that a code stands for."""
        low, high = (self.scale * np.float32(q - self.zero_point) for q in (0, 255))
        return np.float32(low), np.float32(high)


def share_scales(
    nodes: Iterable[onnx.NodeProto], ranges: Mapping[str, Range], constants: Iterable[str]
) -> dict[str, Scale]:
    """A scale for every value with a range.

    The inputs and the output of a concatenation share theirs, which covers the ranges of all: so it
    copies codes, and nothing is requantized.

    Raises ShiftAddError for a value whose range is a point.
    """
    groups = _Groups()
    fixed = set(constants)
    for node in nodes:
        if node.op_type == "Concat":
            for name in node.input:
                if name and name not in fixed:
                    groups.join(node.output[0], name)
    members: dict[str, list[str]] = {}
    for name in ranges:
        members.setdefault(groups.root(name), []).append(name)
    scales: dict[str, Scale] = {}
    for names in members.values():
        low = min(ranges[name].low for name in names)
        high = max(ranges[name].high for name in names)
        scale, zero_point = quantization(names[0], Range(low, high))
        scales.update(dict.fromkeys(names, Scale(names[0], scale, zero_point)))
    return scales


class _Groups:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def root(self, name: str) -> str:
        while (parent := self._parents.get(name, name)) != name:
            name = parent
        return name

    def join(self, first: str, second: str) -> None:
        self._parents[self.root(second)] = self.root(first)

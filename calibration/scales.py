"""Which values of a graph share one scale, and the scale that each takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

from calibration.quantization import Grid, Range, grid_over


@dataclass(frozen=True)
class Scale:
    """What one or more values share: a grid of uint8 codes, and the name of the first of them."""

    name: str
    grid: Grid


def share_scales(
    nodes: Iterable[onnx.NodeProto], ranges: Mapping[str, Range], constants: Iterable[str]
) -> dict[str, Scale]:
    """A scale for every value with a range.

    The inputs and the output of a concatenation share one scale, which covers the ranges of all. So
    the concatenation copies codes, and nothing is requantized.

    Raises ModelError for a value whose range `grid_over` refuses.
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
        grid = grid_over(names[0], Range(low, high))
        scales.update(dict.fromkeys(names, Scale(names[0], grid)))
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

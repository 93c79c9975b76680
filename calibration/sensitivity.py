"""Finds the nodes that have to stay in float for the integer model's logits to be near the float
ones.

Every node is quantized alone, with all others in float, and judged by what that does to the logits.
The power of the noise of several nodes is about the sum of their powers, so the nodes to keep in
float are those that do most harm alone.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from tqdm import tqdm

from calibration.comparison.deviation import Deviation
from calibration.comparison.onnxruntime_backend import OnnxRuntimeBackend
from calibration.quantize import quantize_model
from calibration.table import Table
from runtime.core.metadata import Metadata
from runtime.core.session import OUTPUT

Float32 = npt.NDArray[np.float32]


_SHOWN = 10


def decibels(text: str) -> float:
    """An argparse type: a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number of decibels")
    return value


@dataclass(frozen=True)
class Sensitivity:
    """A node and the logits' signal-to-noise ratio, in dB, where nothing else is quantized."""

    node: str
    decibels: float


@dataclass(frozen=True)
class Choice:
    """What the search found.

    Attributes:
        ranking: all nodes that can be quantized, the most sensitive first.
        kept: those to keep in float, the most sensitive first.
        before, after: the logits' signal-to-noise ratio in dB, with none of them in float and with
            all `kept`.
    """

    ranking: Sequence[Sensitivity]
    kept: tuple[str, ...]
    before: float
    after: float

    def lines(self) -> Iterator[str]:
        """What was found, for the terminal."""
        yield ""
        yield f"logits   {self.before:.1f} dB with no further node in float, {self.after:.1f} dB so"
        yield f"kept     {len(self.kept)} of {len(self.ranking)} nodes in float"
        if self.kept:
            yield f"again    KEEP_FLOAT={','.join(self.kept)}"
        yield ""
        yield "most sensitive, and the logits where nothing else is quantized:"
        for sensitivity in self.ranking[:_SHOWN]:
            mark = "float" if sensitivity.node in self.kept else ""
            yield f"  {sensitivity.node:<40} {sensitivity.decibels:>6.1f} dB  {mark}".rstrip()


class Search:
    """Quantizes a model in many ways, and compares the logits with its own.

    Args:
        images: float32 batches [N, C, H, W].
        keep_float: nodes that stay in float in every trial.
        library: the operator library; searched for when None.

    Raises ModelError for what keeps a model from being quantized or from running.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        table: Table,
        metadata: Metadata,
        images: Sequence[Float32],
        keep_float: Collection[str] = (),
        library: str | None = None,
    ) -> None:
        self._model, self._table, self._images = model, table, images
        self._fixed = frozenset(keep_float)
        self._backend = OnnxRuntimeBackend(metadata, library)
        self._reference = self._logits(model)
        self.nodes = _quantized_nodes(model, quantize_model(model, table, self._fixed))

    def rank(self) -> list[Sensitivity]:
        """All nodes that can be quantized, the most sensitive first; shows a progress bar."""
        found = []
        for node in tqdm(self.nodes, "sensitivity", unit="node", disable=None, leave=False):
            others = [name for name in self.nodes if name != node]
            found.append(Sensitivity(node, self.decibels(others)))
        return sorted(found, key=lambda sensitivity: sensitivity.decibels)

    def choose(self, target: float) -> Choice:
        """The fewest nodes, by their sensitivity, that have to stay in float for the logits to
        reach `target` dB.

        Bisection finds the least number of the most sensitive nodes. Then nodes that the target
        does not need go back to integers, the least sensitive first.
        """
        ranking = self.rank()
        names = [sensitivity.node for sensitivity in ranking]
        # With all nodes in float the ratio is infinite, so the upper end always reaches the target.
        low, high = 0, len(names)
        while low < high:
            middle = (low + high) // 2
            if self.decibels(names[:middle]) >= target:
                high = middle
            else:
                low = middle + 1
        kept = names[:high]
        for name in reversed(names[:high]):
            without = [other for other in kept if other != name]
            if self.decibels(without) >= target:
                kept = without
        return Choice(ranking, tuple(kept), self.decibels(()), self.decibels(kept))

    def decibels(self, keep_float: Collection[str]) -> float:
        """The logits' signal-to-noise ratio with these nodes, and the fixed ones, in float."""
        quantized = quantize_model(self._model, self._table, {*keep_float, *self._fixed})
        deviation = Deviation()
        for logits, reference in zip(self._logits(quantized), self._reference, strict=True):
            deviation.add(logits, reference)
        return deviation.decibels

    def _logits(self, model: onnx.ModelProto) -> list[Float32]:
        run = self._backend.load(model.SerializeToString())
        return [run(batch)[OUTPUT] for batch in self._images]


def _quantized_nodes(model: onnx.ModelProto, quantized: onnx.ModelProto) -> list[str]:
    """Names of the float model's nodes that make codes in the quantized one, in order."""
    outputs = {node.name: set(node.output) for node in quantized.graph.node}
    return [
        node.name
        for node in model.graph.node
        if node.name in outputs and not outputs[node.name] & set(node.output)
    ]

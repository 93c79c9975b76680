"""Compares two exported files on the same inputs, layer by layer where their names agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from calibration.comparison.deviation import Deviation, Tolerances
from calibration.comparison.text import FAIL, PASS, some, table
from export.validation.exported import ExportedModel, LayerNode
from export.validation.rows import number
from runtime.core.errors import ModelError

Float32 = npt.NDArray[np.float32]

_BATCH = 4
_HEADER = ("layer", "operator", "output", "difference", "max abs", "")


@dataclass
class LayerDifference:
    """One layer that both files have, before its activation, over all inputs."""

    node: LayerNode
    shape: tuple[int, ...] = ()
    deviation: Deviation = field(default_factory=Deviation)


@dataclass
class FileDifference:
    """What two files give for the same inputs, the second as the reference.

    Attributes:
        layers: those whose names both have, in the first one's order.
        only_ours, only_theirs: names of the layers that one file alone has.
    """

    logits: Deviation
    layers: list[LayerDifference]
    only_ours: list[str]
    only_theirs: list[str]
    tolerances: Tolerances

    @property
    def first(self) -> str | None:
        """The first layer that differs by more than is allowed of a network."""
        for layer in self.layers:
            if layer.deviation.relative > self.tolerances.network:
                return layer.node.name
        return None

    @property
    def passed(self) -> bool:
        return self.logits.relative <= self.tolerances.network and self.first is None


def compare_files(
    ours: ExportedModel, theirs: ExportedModel, inputs: Mapping[str, Float32]
) -> FileDifference:
    """Runs both files on all of `inputs`, float32 [N, C, H, W] by kind.

    Raises ModelError for files of other inputs or outputs.
    """
    if ours.metadata.input_size != theirs.metadata.input_size:
        raise ModelError(
            f"{ours.path} takes {ours.metadata.input_size}, {theirs.path} "
            f"{theirs.metadata.input_size}: there is no input for both"
        )
    named = {layer.name: layer for layer in theirs.layers}
    common = [layer for layer in ours.layers if layer.name in named]
    here = {layer.name for layer in ours.layers}
    result = FileDifference(
        Deviation(),
        [LayerDifference(layer) for layer in common],
        [layer.name for layer in ours.layers if layer.name not in named],
        [name for name in named if name not in here],
        ours.tolerances,
    )
    for images in inputs.values():
        for first in range(0, len(images), _BATCH):
            _add(result, ours, theirs, named, images[first : first + _BATCH])
    return result


def _add(
    result: FileDifference,
    ours: ExportedModel,
    theirs: ExportedModel,
    named: Mapping[str, LayerNode],
    batch: Float32,
) -> None:
    here, there = ours.run_layers(batch), theirs.run_layers(batch)
    try:
        result.logits.add(ours.run(batch), theirs.run(batch))
        for layer in result.layers:
            output = here[layer.node.sums]
            layer.shape = output.shape[1:]
            layer.deviation.add(output, there[named[layer.node.name].sums])
    except ValueError as error:
        raise ModelError(f"{ours.path} does not fit {theirs.path}: {error}") from error


def lines(result: FileDifference, ours: str, theirs: str) -> Iterator[str]:
    """The comparison for the terminal, with a verdict at its end."""
    allowed = result.tolerances.network
    rows = [_cells(layer, allowed) for layer in result.layers]
    logits = result.logits
    verdict = PASS if logits.relative <= allowed else FAIL
    rows.append(("logits", "", "", number(logits.relative), number(logits.largest), verdict))
    yield from table(_HEADER, rows)
    yield ""
    yield from _unshared(result.only_ours, ours)
    yield from _unshared(result.only_theirs, theirs)
    if result.passed:
        yield (
            f"{PASS}: the logits and the {len(result.layers)} layers that both files name agree "
            f"to {allowed:.0e}"
        )
    elif result.first is not None:
        yield f"{FAIL}: the first layer that differs by more than {allowed:.0e} is {result.first}"
    else:
        yield f"{FAIL}: the logits differ by more than {allowed:.0e}, behind all layers that agree"


def _unshared(names: Sequence[str], file: str) -> Iterator[str]:
    if names:
        yield f"{len(names)} layers are in {file} alone: {some(names)}"


def _cells(layer: LayerDifference, allowed: float) -> tuple[str, ...]:
    return (
        layer.node.name,
        layer.node.operator,
        "x".join(map(str, layer.shape)),
        number(layer.deviation.relative),
        number(layer.deviation.largest),
        PASS if layer.deviation.relative <= allowed else FAIL,
    )

"""An integer model beside the float model that it was made from, both ready to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration import table as calibration_table
from calibration.comparison.deviation import Array
from calibration.comparison.onnxruntime_backend import OnnxRuntimeBackend
from calibration.model_file import ModelFile, check_origin
from calibration.scales import share_scales
from calibration.table import Table
from calibration.validation.codes import codes_name, dequantize, quantize, rounded
from calibration.validation.layers import (
    INPUT_LAYER,
    Layer,
    isolated_layers,
    match_layers,
    with_outputs,
)
from calibration.validation.rounding import rounded_layers
from runtime.core.errors import ModelError
from runtime.core.session import INPUT

Float32 = npt.NDArray[np.float32]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]


class Pair:
    """Both models in ONNX Runtime: as they are, with every layer's output, and layer by layer.

    The grids follow from the calibration table: they say what a tensor of the integer model stands
    for, whatever its nodes take it for.

    Attributes:
        layers: those of the integer model, in order.
        grids: the grid of the codes, by value.

    Raises ModelError, in one line, for files that do not belong together, and for whatever keeps
    one from running.
    """

    def __init__(
        self,
        float_file: ModelFile,
        integer_file: ModelFile,
        table_path: Path,
        library: str | None = None,
    ) -> None:
        self.float_file, self.integer_file = float_file, integer_file
        check_origin(float_file, integer_file)
        self.table = calibration_table.read(table_path, float_file.sha256)
        self.layers = _matched(float_file, integer_file)
        graph = float_file.model.graph
        computed = [INPUT, *(name for node in graph.node for name in node.output)]
        _check_complete(self.table, table_path, computed)
        constants = [tensor.name for tensor in graph.initializer]
        scales = share_scales(graph.node, self.table.ranges, constants)
        self.grids = {value: scale.grid for value, scale in scales.items()}
        self.backend = OnnxRuntimeBackend(integer_file.metadata, library)
        self._float = self._load(float_file, float_file.content)
        self._integer = self._load(integer_file, integer_file.content)
        self._parts = isolated_layers(integer_file.model, self.layers, computed)
        self._isolated = self._load(integer_file, self._parts.content)
        bounds = rounded_layers(float_file.model, self.layers, self.grids)
        self._rounded_inputs = bounds.values
        self._rounded = self._load(float_file, bounds.content)
        values = [*self._parts.codes, *self._parts.values, *(layer.value for layer in self.layers)]
        self._float_values = self._load(float_file, with_outputs(float_file.model, values))
        outputs = [layer.output for layer in self.layers]
        self._layer_outputs = self._load(integer_file, with_outputs(integer_file.model, outputs))

    def float_logits(self, images: Float32) -> Float32:
        """The logits, [N, classes], that the float file gives as it is."""
        return self._float({INPUT: images})[self.float_file.metadata.class_output]

    def integer_logits(self, images: Float32) -> Float32:
        """The logits, [N, classes], that the integer file gives as it is."""
        return self._integer({INPUT: images})[self.integer_file.metadata.class_output]

    def float_values(self, images: Float32) -> Mapping[str, Float32]:
        """All values of the float model for these images, by name, the images included."""
        return {**self._float_values({INPUT: images}), INPUT: images}

    def layer_outputs(self, images: Float32) -> Mapping[str, Array]:
        """What the integer model's layers make, by Layer.output."""
        return self._layer_outputs({INPUT: images})

    def isolated_outputs(self, values: Mapping[str, Float32]) -> Mapping[str, Array]:
        """What each quantized layer makes of the float model's values, by Layer.isolated."""
        feeds: dict[str, Array] = {name: values[name] for name in self._parts.values}
        for value in self._parts.codes:
            feeds[codes_name(value)] = quantize(values[value], self.grids[value])
        return self._isolated(feeds)

    def rounded_outputs(self, values: Mapping[str, Float32]) -> Mapping[str, Float32]:
        """What rounding alone makes of each quantized layer's output, by Layer.isolated."""
        feeds = {name: rounded(values[name], self.grids[name]) for name in self._rounded_inputs}
        made = {INPUT_LAYER.isolated: values[INPUT], **self._rounded(feeds)}
        return {
            layer.isolated: rounded(made[layer.isolated], self.grids[layer.value])
            for layer in self.layers
            if layer.quantized
        }

    def dequantized(self, codes: Array, value: str) -> Float32:
        """The float value that codes of `value` stand for."""
        return dequantize(codes, self.grids[value])

    def _load(self, file: ModelFile, content: bytes) -> Run:
        def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
            try:
                return graph.run(feeds)
            except ModelError as error:
                raise ModelError(f"{file.path}: {error}") from error

        try:
            graph = self.backend.load_graph(content)
            return run
        except ModelError as error:
            raise ModelError(f"{file.path}: {error}") from error


def _matched(float_file: ModelFile, integer_file: ModelFile) -> list[Layer]:
    try:
        layers = match_layers(float_file.model.graph, integer_file.model.graph)
    except ModelError as error:
        raise ModelError(f"{integer_file.path}: {error}") from error
    if not any(layer.quantized for layer in layers):
        raise ModelError(
            f"{integer_file.path}: holds no integer layer: write it with `make calibrate`"
        )
    return layers


def _check_complete(table: Table, path: Path, values: Iterable[str]) -> None:
    missing = [value for value in values if value not in table.ranges]
    if missing:
        raise ModelError(
            f"{path}: no range for {missing[0]}: calibrate again with `make calibrate`"
        )

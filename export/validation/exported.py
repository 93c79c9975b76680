"""The exported file in an engine, with its layers' inputs and outputs made visible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from calibration import onnx_file
from calibration.comparison.backend import BackendFactory, Float32, Runner
from calibration.comparison.deviation import FIXED_POINT, FLOAT32, Tolerances
from calibration.comparison.onnxruntime_backend import OnnxRuntimeBackend
from export.onnx_export.check import check_model
from export.onnx_export.graph import attribute, is_custom, set_attribute
from export.onnx_export.metadata import fixed_point_of
from runtime.core import metadata as model_metadata
from runtime.core.errors import ModelError, one_line
from runtime.core.onnx_header import read_metadata
from runtime.core.session import INPUT, OUTPUT

_LAYERS = ("Conv", "Gemm")
_BEFORE = "/before_activation"


@dataclass(frozen=True)
class LayerNode:
    """A node with weights. Its name is the path of the module that it was exported from.

    Attributes:
        x, y: names of the tensors that it reads and makes.
        sums: name of the tensor that it would make without its activation; y where it has none.
        activation: fused into the node; "none" where none is.
        norm_follows: whether a BatchNormalization of its own stands behind the node.
    """

    name: str
    operator: str
    x: str
    y: str
    sums: str
    activation: str
    norm_follows: bool


class ExportedModel:
    """A model file that is loaded twice: as it is, and with every layer's tensors as outputs.

    Attributes:
        fixed_point: what became of the rounding of inputs when the file was exported.

    Raises ModelError, naming the file, for whatever keeps it from running.
    """

    def __init__(
        self,
        path: Path,
        library: str | None = None,
        make_backend: BackendFactory = OnnxRuntimeBackend,
    ) -> None:
        self.path = path
        try:
            properties = read_metadata(str(path))
            self.metadata = model_metadata.parse(properties)
            self.fixed_point = fixed_point_of(properties)
            file = onnx_file.read(path)
            self.sha256 = file.sha256
            model = file.model
            _check_contract(model)
            self.backend = make_backend(self.metadata, library)
            self._as_it_is = self.backend.load(file.content)
            self.layers = _layer_nodes(model.graph)
            self._instrumented = self.backend.load(_with_layer_outputs(model, self.layers))
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    @property
    def tolerances(self) -> Tolerances:
        """What the engine is allowed; more where the file rounds to fixed point in float32."""
        kept = self.fixed_point == "keep" and self.backend.tolerances == FLOAT32
        return FIXED_POINT if kept else self.backend.tolerances

    def run(self, images: Float32) -> Float32:
        """Logits [N, classes] of [N, C, H, W], by the file as it is."""
        return self._run(self._as_it_is, images)[OUTPUT]

    def run_layers(self, images: Float32) -> dict[str, Float32]:
        """Every tensor that a layer reads or makes, by name."""
        return {**self._run(self._instrumented, images), INPUT: images}

    def _run(self, runner: Runner, images: Float32) -> Mapping[str, Float32]:
        try:
            return runner(images)
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from error


def _check_contract(model: onnx.ModelProto) -> None:
    """Refuses what the operators' contract refuses, since not every runtime can check all of it."""
    try:
        check_model(model)
    except (ValueError, TypeError) as error:  # TypeError: an initializer of no known type
        raise ModelError(one_line(error)) from error
    for node in model.graph.node:
        if model.functions and is_custom(node) and _activation(node) != "none":
            raise ModelError(
                f"{node.name}: activation: expected none in a file with function bodies, which "
                f"cannot compute it, got {_activation(node)}"
            )


def _layer_nodes(graph: onnx.GraphProto) -> list[LayerNode]:
    normalised = {n.input[0] for n in graph.node if n.op_type == "BatchNormalization"}
    return [
        LayerNode(
            name=node.name,
            operator=node.op_type,
            x=node.input[0],
            y=node.output[0],
            sums=node.output[0] + ("" if _activation(node) == "none" else _BEFORE),
            activation=_activation(node),
            norm_follows=node.output[0] in normalised,
        )
        for node in graph.node
        if is_custom(node) or (node.domain == "" and node.op_type in _LAYERS)
    ]


def _activation(node: onnx.NodeProto) -> str:
    return str(attribute(node, "activation", "none"))


def _with_layer_outputs(model: onnx.ModelProto, layers: list[LayerNode]) -> bytes:
    """A copy of the model that also returns the layers' tensors.

    A node with an activation gets a twin without one, so that what a ReLU cuts off is compared as
    well.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in model.graph.node:
        if is_custom(node) and _activation(node) != "none":
            copy.graph.node.append(_twin_without_activation(node))
    returned = {output.name for output in copy.graph.output} | {INPUT}
    for name in dict.fromkeys(name for layer in layers for name in (layer.x, layer.y, layer.sums)):
        if name not in returned:
            shape = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            copy.graph.output.append(shape)
    return bytes(copy.SerializeToString())


def _twin_without_activation(node: onnx.NodeProto) -> onnx.NodeProto:
    twin = onnx.NodeProto()
    twin.CopyFrom(node)
    twin.name += _BEFORE
    twin.output[0] += _BEFORE
    set_attribute(twin, "activation", "none")
    return twin

"""The values that every activation of a model takes over a set of images, and the range that it
gets.

ONNX Runtime runs the model with the operator library and with every activation as an output, a few
images at a time. Only extremes and counts of a batch are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from tqdm import tqdm

from calibration import methods
from calibration.comparison.backend import Runner
from calibration.comparison.onnxruntime_backend import OnnxRuntimeBackend
from calibration.histogram import Histogram
from calibration.quantization import Range, grid_over
from export.onnx_export.graph import Array, attribute
from runtime.core.errors import ModelError
from runtime.core.metadata import Metadata
from runtime.core.session import INPUT

Float32 = npt.NDArray[np.float32]

METHODS = ("minmax", "percentile", "entropy", "mse")


class Activation:
    """What one tensor held in all batches so far.

    Attributes:
        name: the tensor's.
        histogram: counts of its values; None where none was asked for.
    """

    def __init__(self, name: str, with_histogram: bool) -> None:
        self.name = name
        self.histogram = Histogram() if with_histogram else None
        self._low, self._high = np.inf, -np.inf

    def add(self, values: Float32) -> None:
        """Takes the tensor of one batch, [N, C, ...] where it has channels.

        Raises ModelError where a value is not finite.
        """
        low, high = float(values.min()), float(values.max())
        # The minimum of values with a NaN among them is NaN, so this finds NaN as well.
        if not (np.isfinite(low) and np.isfinite(high)):
            wrong = values[~np.isfinite(values)][0]
            raise ModelError(
                f"the activation {self.name} is {wrong} for an image: no scale fits it; train or "
                "export the model again"
            )
        self._low, self._high = min(self._low, low), max(self._high, high)
        if self.histogram is not None:
            self.histogram.add(values, max(-low, high))

    @property
    def seen(self) -> Range:
        """The least and the largest value."""
        return Range(self._low, self._high)


def observe(
    model: onnx.ModelProto,
    metadata: Metadata,
    batches: Iterable[Float32],
    method: str,
    library: str | None = None,
) -> dict[str, Activation]:
    """Runs all batches, float32 [N, C, H, W], and returns what the float activations held, by name.

    Activations are the graph's input and all that nodes compute from it, in the graph's order.

    Args:
        method: the one of METHODS that `choose` will be asked for.
        library: the operator library; searched for when None.

    Raises ModelError, naming the tensor, for weights and activations that are not finite, and for
    what keeps the model from running.
    """
    _check_weights(model.graph)
    names = _activations(model.graph)
    run = _instrumented(model, names, metadata, library)
    with_histogram = method != "minmax"
    observed: dict[str, Activation] = {}
    for images in batches:
        tensors = {INPUT: images, **run(images)}
        for name in names:
            if tensors[name].dtype == np.float32:
                if name not in observed:
                    observed[name] = Activation(name, with_histogram)
                observed[name].add(tensors[name])
    return observed


def choose(observed: Mapping[str, Activation], method: str) -> dict[str, Range]:
    """The range of every activation by one of METHODS.

    A constant activation keeps its one value as its range.

    Raises ModelError for images that are all of one value, and for a range that no grid fits.
    """
    if observed[INPUT].seen.constant:
        raise ModelError(
            f"{INPUT}: the images hold nothing but {observed[INPUT].seen.low:g} once they are "
            "prepared: calibrate with others"
        )
    for name, activation in observed.items():
        grid_over(name, activation.seen)
    bar = tqdm(observed.items(), f"{method} ranges", unit="tensor", disable=None, leave=False)
    return {name: _range(activation, method) for name, activation in bar}


def _range(activation: Activation, method: str) -> Range:
    if activation.histogram is None or activation.seen.constant:
        return activation.seen
    if method == "percentile":
        return methods.percentile(activation.seen, activation.histogram)
    search = methods.entropy if method == "entropy" else methods.mse
    return search(activation.name, activation.seen, activation.histogram)


def _instrumented(
    model: onnx.ModelProto, names: Iterable[str], metadata: Metadata, library: str | None
) -> Runner:
    """The model in ONNX Runtime, with all `names` but the input as outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    returned = {INPUT} | {output.name for output in copy.graph.output}
    # The new outputs need no types: ONNX Runtime infers them, even for custom operators.
    copy.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in returned
    )
    return OnnxRuntimeBackend(metadata, library).load(copy.SerializeToString())


def _activations(graph: onnx.GraphProto) -> list[str]:
    """The names of the input and of all that depends on it; what is computed from weights alone is
    no activation."""
    names = {INPUT: None}
    for node in graph.node:
        if any(name in names for name in node.input):
            names.update(dict.fromkeys(name for name in node.output if name))
    return list(names)


def _check_weights(graph: onnx.GraphProto) -> None:
    for name, value in _weights(graph):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            wrong = value[~np.isfinite(value)].flat[0]
            raise ModelError(f"the weight {name} holds {wrong}: train or export the model again")


def _weights(graph: onnx.GraphProto) -> Iterator[tuple[str, Array]]:
    for tensor in graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in graph.node:
        value = attribute(node, "value") if node.op_type == "Constant" else None
        if value is not None:
            yield node.output[0], numpy_helper.to_array(value)

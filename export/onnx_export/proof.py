"""Runs an exported graph before it becomes a file, and compares it with the network.

Images are random and constant, in batches of one and of three: what was fixed for the images or the
batch of the trace shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.onnx_export import functions, layers, refusals, unfuse
from export.onnx_export.graph import is_custom
from export.operators.exact import float64_copy
from runtime.core import library as operator_library
from runtime.core.errors import reason

Array = npt.NDArray[Any]

TOLERANCE = 1e-4
"""||file - network|| / ||network||: float32 sums of other orders, through many layers."""

_OWN_ERROR = 4.0
"""Where PyTorch's own float32 run is further than that from its float64 run, as behind the
cancelling sums of a deep adder network: that many times its error."""

_SEED = 0
_LARGEST_BATCH = 3


@dataclass(frozen=True)
class Run:
    """One batch, and what the network gives for it."""

    name: str
    inputs: list[Array]
    outputs: list[Array]


def observe(network: nn.Module, inputs: Mapping[str, tuple[int, ...]]) -> list[Run]:
    """Runs `network` (on the CPU, float32, eval mode), which is left as it is.

    Raises ExportError, naming the module, where it cannot be run, or where its outputs are not
    float32 tensors with the batch as their first extent.
    """
    return [
        Run(name, arrays, _outputs(network, arrays, name))
        for name, arrays in _batches(list(inputs.values()))
    ]


def check(model: onnx.ModelProto, runs: list[Run], module: nn.Module) -> None:
    """Raises ExportError, naming the first layer that differs, unless `model` gives the outputs of
    `runs`, which are those of `module`; 1e-4 of their norm."""
    session = _session(model)
    for run in runs:
        given = _run(session, run.inputs)
        for index, (value, expected) in enumerate(zip(given, run.outputs, strict=True)):
            if _distance(value, expected) > TOLERANCE:
                _refuse_unless_exact(model, module, run, index, value)


def _batches(shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, list[Array]]]:
    random = np.random.default_rng(_SEED)
    inputs = [
        random.standard_normal((_LARGEST_BATCH, *shape)).astype(np.float32) for shape in shapes
    ]
    for batch in (_LARGEST_BATCH, 1):
        yield f"{batch} random images", [array[:batch] for array in inputs]
        yield f"{batch} constant images", [np.full_like(array[:batch], 0.5) for array in inputs]


def _outputs(network: nn.Module, inputs: Sequence[Array], name: str) -> list[Array]:
    try:
        with torch.no_grad():
            result = network(*(torch.from_numpy(array.copy()) for array in inputs))
    # A network is anybody's code.
    except Exception as error:
        raise refusals.explain(error, network, []) from error
    outputs = list(_flat(result))
    for index, value in enumerate(outputs):
        _check_output(value, index, len(inputs[0]), name)
    return [_with_batch(value, len(inputs[0])).numpy() for value in outputs]


def _flat(result: Any) -> Iterator[Any]:
    """The tensors of what a network returns, in their order."""
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        for part in result:
            yield from _flat(part)
    else:
        yield result


def _with_batch(value: Tensor, batch: int) -> Tensor:
    """A `squeeze()` takes the axis of a batch of one away as well; the file keeps it."""
    return value if batch > 1 or value.shape[:1] == (1,) else value.unsqueeze(0)


def _check_output(value: Any, index: int, batch: int, name: str) -> None:
    title = f"output {index} of the network"
    if not isinstance(value, Tensor):
        raise ExportError(f"{title} is of type {type(value).__name__}: return tensors")
    if value.dtype != torch.float32:
        kind = str(value.dtype).removeprefix("torch.")
        raise ExportError(f"{title} is {kind}: return float32 logits, without argmax and the like")
    if batch > 1 and value.shape[:1] != (batch,):
        raise ExportError(
            f"{title} has the shape {list(value.shape)} for {name}: its first extent has to be "
            "the batch"
        )
    if "random" in name and not torch.isfinite(value).all():
        raise ExportError(f"{title} is not finite for {name}: is the network trained?")


def _session(model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    custom = any(is_custom(node) for node in model.graph.node)
    library = operator_library.find() if custom else None
    if library is None and custom and not model.functions:
        model = functions.add_bodies(unfuse.split_activations(model))
    try:
        if library is not None:
            operator_library.check_machine(library)
            options.register_custom_ops_library(library)
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        with_it = f" with {library}" if library else ""
        raise ExportError(
            f"the file would not load in ONNX Runtime{with_it}: {reason(error)}"
        ) from error


def _run(session: Any, inputs: Sequence[Array]) -> list[Array]:
    try:
        outputs: list[Array] = session.run(
            None, dict(zip((i.name for i in session.get_inputs()), inputs, strict=True))
        )
    except Exception as error:
        raise ExportError(
            f"the file would not run for a batch of {len(inputs[0])}: {reason(error)}"
        ) from error
    return outputs


def _distance(value: Array, expected: Array) -> float:
    """||value - expected|| / ||expected||; infinite for other shapes, and for NaNs elsewhere."""
    finite = np.isfinite(expected)
    if value.shape != expected.shape or not np.array_equal(finite, np.isfinite(value)):
        return float("inf")
    error = np.linalg.norm(value[finite].astype(np.float64) - expected[finite])
    norm = np.linalg.norm(expected[finite].astype(np.float64))
    return float(error / norm) if norm else (float("inf") if error else 0.0)


def _refuse_unless_exact(
    model: onnx.ModelProto, module: nn.Module, run: Run, index: int, value: Array
) -> None:
    """Compares with the float64 run before it refuses: PyTorch's float32 is no reference where it
    is far from that itself."""
    network = refusals.copy_of(module)
    again = _outputs(network, run.inputs, run.name)[index]
    if _distance(again, run.outputs[index]) > TOLERANCE:
        raise ExportError(
            "the network gives other outputs for the same images each time: take out what is "
            "random, or kept from one call to the next"
        )
    with torch.no_grad():
        doubles = [torch.from_numpy(array).double() for array in run.inputs]
        results = list(_flat(float64_copy(network)(*doubles)))
    exact = _with_batch(results[index], len(run.inputs[0])).numpy()
    allowed = max(TOLERANCE, _OWN_ERROR * _distance(run.outputs[index], exact))
    error = _distance(value, exact)
    if error > allowed:
        raise ExportError(
            f"the file would give other outputs than the network: {error:.1e} of their norm apart "
            f"for {run.name}; {_place(model, network, run.inputs)}"
        )


def _place(model: onnx.ModelProto, network: nn.Module, inputs: Sequence[Array]) -> str:
    nodes = layers.layer_nodes(model)
    session = _session(layers.with_outputs(model, nodes))
    names = [output.name for output in session.get_outputs()]
    values = dict(zip(names, _run(session, inputs), strict=True))
    given = {node.name: values[node.output[0]] for node in nodes}
    calls = layers.calls(network, inputs)
    for node in nodes:
        expected = layers.candidates(node, calls)
        if expected and min(_distance(given[node.name], value) for value in expected) > TOLERANCE:
            return f"the first layer that differs is {node.name}"
    return "no layer with weights differs, so it is in what lies between or behind them"

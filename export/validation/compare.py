"""Runs both sides on the same inputs and judges every difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from calibration.comparison.deviation import FLOAT32, Deviation, Tolerances
from export.operator_table import FLOAT_OPERATORS
from export.validation.exported import ExportedModel, LayerNode
from export.validation.reference import Chain, Reference
from runtime.core.errors import ModelError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# The number of images in a run; the tensors of all their layers are held at the same time.
_BATCH = 4


@dataclass
class LayerResult:
    """One layer over all inputs of one kind.

    Attributes:
        shape: the output's, without the batch.
        isolated: the deviation from PyTorch's layer in float64 that is given the tensor that the
            file's layer read. They are compared before the activation, which would hide what it
            cuts off.
        accumulated: the deviation from the float64 network, which includes the errors of all layers
            before.
        pytorch: the deviation of PyTorch's own float32 network from the float64 one, which is
            unavoidable.
    """

    node: LayerNode
    shape: tuple[int, ...] = ()
    isolated: Deviation = field(default_factory=Deviation)
    accumulated: Deviation = field(default_factory=Deviation)
    pytorch: Deviation = field(default_factory=Deviation)
    tolerances: Tolerances = FLOAT32

    @property
    def silent(self) -> bool:
        """Whether the network's own output is 0 for every input, so that it shows no error."""
        return self.accumulated.squared_reference == 0.0

    @property
    def isolated_passed(self) -> bool:
        return self.isolated.scaled <= self.tolerances.layer

    @property
    def passed(self) -> bool:
        return self.isolated_passed and self.accumulated.relative <= self.tolerances.network


@dataclass
class LogitsResult:
    """The unchanged file's logits over all inputs of one kind.

    Attributes:
        exact, pytorch: the deviation from PyTorch in float64 and in float32.
        pytorch_exact: the deviation of PyTorch's float32 from its float64.
        same_top1: inputs whose best class is PyTorch's (float32).
        ours, theirs: the logits themselves, [inputs, classes], ours in float32, theirs in float64.
    """

    exact: Deviation = field(default_factory=Deviation)
    pytorch: Deviation = field(default_factory=Deviation)
    pytorch_exact: Deviation = field(default_factory=Deviation)
    same_top1: int = 0
    ours: list[Float32] = field(default_factory=list)
    theirs: list[Float64] = field(default_factory=list)
    tolerances: Tolerances = FLOAT32

    @property
    def count(self) -> int:
        return len(self.ours)

    @property
    def passed(self) -> bool:
        return max(self.exact.relative, self.pytorch.relative) <= self.tolerances.network


@dataclass
class InputResult:
    """Everything about one kind of input.

    Attributes:
        uncompared: layers of the network that no node of the file stands for by itself.
    """

    kind: str
    logits: LogitsResult
    layers: list[LayerResult]
    uncompared: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        return self.logits.passed and all(layer.passed for layer in self.layers)


def compare(
    exported: ExportedModel, reference: Reference, inputs: Mapping[str, Float32]
) -> list[InputResult]:
    """One result for each kind of input; shows a progress bar.

    Args:
        inputs: float32 [N, C, H, W] by the name of their kind.

    Raises ModelError where the file and the network are not of the same layers.
    """
    chains = match_layers(exported, reference)
    tolerances = exported.tolerances
    uncompared = reference.missing(chain.node for chain in chains)
    total = sum(len(images) for images in inputs.values())
    results = []
    try:
        with tqdm(total=total, desc="validate", unit="image", disable=None, leave=False) as bar:
            for kind, images in inputs.items():
                layers = [LayerResult(chain.node, tolerances=tolerances) for chain in chains]
                logits = LogitsResult(tolerances=tolerances)
                result = InputResult(kind, logits, layers, uncompared)
                for batch in _batches(images):
                    _add_logits(result.logits, exported, reference, batch)
                    _add_layers(result.layers, chains, exported, reference, batch)
                    bar.update(len(batch))
                results.append(result)
    # A module raises one of these where it is given a tensor of another layer's shape.
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{exported.path} does not fit the network: {error}") from error
    return results


def match_layers(exported: ExportedModel, reference: Reference) -> list[Chain]:
    """The PyTorch modules that each node of the file stands for, in the file's order.

    Raises ModelError where a layer of the network has no node, or a custom node no layer. A file
    for the target `standard` has its layers taken apart: what is left of them is matched.
    """
    chains = [chain for node in exported.layers if (chain := reference.chain(node)) is not None]
    if exported.metadata.target == "standard":
        return chains
    missing = reference.missing(chain.node for chain in chains)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(
            f"{exported.path}: no node for the layer {missing[0]}{more}: it was exported from "
            f"another network; export it again with `make export`"
        )
    compared = {chain.node.name for chain in chains}
    for node in exported.layers:
        if node.operator in FLOAT_OPERATORS and node.name not in compared:
            raise ModelError(
                f"{exported.path}: no layer of the network for its {node.operator} {node.name}, "
                "which would not be compared: export it again with `make export`"
            )
    return chains


def _batches(images: Float32) -> Iterator[Float32]:
    for first in range(0, len(images), _BATCH):
        yield images[first : first + _BATCH]


def _add_logits(
    result: LogitsResult, exported: ExportedModel, reference: Reference, batch: Float32
) -> None:
    ours = exported.run(batch)
    single, exact = reference.logits(batch)
    result.exact.add(ours, exact)
    result.pytorch.add(ours, single)
    result.pytorch_exact.add(single, exact)
    result.same_top1 += int((ours.argmax(1) == single.argmax(1)).sum())
    result.ours += list(ours)
    result.theirs += list(exact)


def _add_layers(
    results: list[LayerResult],
    chains: list[Chain],
    exported: ExportedModel,
    reference: Reference,
    batch: Float32,
) -> None:
    tensors = exported.run_layers(batch)
    single, exact = reference.outputs(batch, chains)
    for result, chain in zip(results, chains, strict=True):
        ours, name = tensors[chain.node.y], chain.node.name
        output, magnitude = chain.exact(tensors[chain.node.x])
        result.shape = ours.shape[1:]
        result.isolated.add(tensors[chain.node.sums], output, magnitude)
        result.accumulated.add(ours, exact[name])
        result.pytorch.add(single[name], exact[name])

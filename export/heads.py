"""What a network's inputs are called, what its outputs are called, and which of them holds classes.

A network is run once on random inputs for it. Whether one value for two classes stands before or
behind a sigmoid only its graph can tell (`export.onnx_export.model`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runtime.core.metadata import LOGIT, LOGITS, PROBABILITIES, Classes

INPUT, OUTPUT = "input", "output"
_BATCH = 2


@dataclass(frozen=True)
class Heads:
    """The outputs' names in their order, and the classes: which output holds them, and how many
    there are (0 without any)."""

    outputs: tuple[str, ...]
    classes: Classes | None
    count: int


def heads_of(module: nn.Module, inputs: Mapping[str, tuple[int, ...]], named: bool) -> Heads:
    """Runs `module` (in eval mode, left as it was) on inputs of these shapes, a batch of 2.

    One tensor [N, classes] holds classes, and so does the entry "logits" of a dict. One of [N, 1]
    is one logit for two classes where these are `named`, else any value.

    Raises ValueError for outputs that are no float tensors with the batch as their first extent,
    and for names that are no names; and whatever the network raises that does not run.
    """
    generator = torch.Generator().manual_seed(0)
    weight = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    given = [
        torch.randn(_BATCH, *shape, generator=generator).to(weight) for shape in inputs.values()
    ]
    result = _run(module, given)
    outputs = dict(_named(result, OUTPUT))
    for name, value in outputs.items():
        _check(name, value, inputs)
    if isinstance(result, Tensor):
        classes = _classes(result)
        if classes is None or (classes == LOGIT and not named):
            return Heads((OUTPUT,), None, 0)
        return Heads((classes,), Classes(classes, classes), _count(result))
    logits = outputs.get(LOGITS)
    if isinstance(result, Mapping) and logits is not None and _classes(logits) == LOGITS:
        return Heads(tuple(outputs), Classes(LOGITS, LOGITS), _count(logits))
    return Heads(tuple(outputs), None, 0)


def _run(module: nn.Module, inputs: list[Tensor]) -> Any:
    training = [m for m in module.modules() if m.training]
    try:
        with torch.no_grad():
            return module.eval()(*inputs)
    finally:
        for changed in training:
            changed.training = True


def _named(result: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The tensors of what a network returns, in their order: the entries of a dict by their keys,
    those of a tuple by numbers."""
    if isinstance(result, Mapping):
        for key, value in result.items():
            yield from _named(value, str(key) if name == OUTPUT else f"{name}_{key}")
    elif isinstance(result, (list, tuple)):
        for index, value in enumerate(result):
            yield from _named(value, f"{name}_{index}")
    else:
        yield name, result


def _check(name: str, value: Any, inputs: Mapping[str, tuple[int, ...]]) -> None:
    if not name or name in inputs or not name.isprintable():
        raise ValueError(f"an output cannot be called {name!r}: give it another name")
    if not isinstance(value, Tensor):
        raise ValueError(f"the output {name!r} is of type {type(value).__name__}: return tensors")
    if value.shape[:1] != (_BATCH,):
        raise ValueError(
            f"the output {name!r} has the shape {list(value.shape)} for a batch of {_BATCH}: its "
            "first extent has to be the batch"
        )


def _classes(value: Tensor) -> str | None:
    """Which of `metadata.VALUES` the tensor holds of classes, if it holds any."""
    if value.dim() != 2:
        return None
    if value.shape[1] == 1:
        return LOGIT
    return PROBABILITIES if _are_probabilities(value) else LOGITS


def _count(value: Tensor) -> int:
    return max(2, int(value.shape[1]))


def _are_probabilities(value: Tensor) -> bool:
    sums = value.double().sum(1)
    return bool((value >= 0).all() and (sums - 1).abs().max() < 1e-5)

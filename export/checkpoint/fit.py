"""Puts a checkpoint's tensors into a network: by name, by name without a prefix, by position."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from export.checkpoint.content import State
from export.checkpoint.errors import CheckpointError, some
from runtime.console.commandline import remark

# Parts of a path that wrappers add: DataParallel, torch.compile.
_WRAPPERS = frozenset({"module", "_orig_mod"})

# A count of training steps, which an exported network does not need.
_COUNTER = "num_batches_tracked"


def fit(model: nn.Module, state: State, path: Path) -> None:
    """Loads `state` into `model`, and says aloud where its names are not the network's.

    The names fit as they are, or without a prefix that a wrapper gave them, or, where no name fits,
    by the order of the tensors, if all shapes agree.

    Raises CheckpointError, in one line, with what is missing, left over or of another shape; for a
    prefix that is not the only one; and for values that are not finite.
    """
    expected = model.state_dict()
    renamed = _by_name(expected, state, path)
    if renamed is None:
        renamed = _by_position(expected, state, path)
    if renamed is None:
        renamed = state
    _check(expected, renamed, path)
    infinite = [k for k, v in renamed.items() if not torch.isfinite(v.float()).all()]
    if infinite:
        raise CheckpointError(f"{path}: values that are not finite in {some(infinite)}")
    model.load_state_dict(renamed, strict=False)


def _needed(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.rpartition(".")[2] != _COUNTER}


def _by_name(expected: State, state: State, path: Path) -> State | None:
    """`state` under the network's names; None where they cannot be found by names alone."""
    needed = _needed(expected)
    if not needed or needed <= state.keys():
        return state
    found = _without_prefix(needed, state, path) or _without_own_prefix(needed, state)
    if found is not None:
        return found
    plain = {_without_wrappers(key): value for key, value in state.items()}
    if len(plain) != len(state):
        return None
    if needed <= plain.keys():
        return plain
    return _without_prefix(needed, plain, path) or _without_own_prefix(needed, plain)


def _without_wrappers(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _without_prefix(needed: set[str], state: State, path: Path) -> State | None:
    """The entries behind the one prefix with which each name of the network is there."""
    probe = max(needed, key=len)
    prefixes = {key[: -len(probe)] for key in state if key.endswith("." + probe)}
    whole = sorted(p for p in prefixes if all(p + name in state for name in needed))
    if len(whole) > 1:
        raise CheckpointError(
            f"{path}: the network's names are there {len(whole)} times, behind {some(whole)}: keep "
            "one of them in the file"
        )
    if not whole:
        return None
    inside = {k.removeprefix(whole[0]): v for k, v in state.items() if k.startswith(whole[0])}
    outside = [key for key in state if not key.startswith(whole[0])]
    if outside:
        remark(f"{path}: entries outside of {whole[0]}* are left: {some(outside)}")
    return inside


def _without_own_prefix(needed: set[str], state: State) -> State | None:
    """The entries under a prefix that the network has and the file has not: a wrapped network."""
    first = {name.partition(".")[0] for name in needed}
    if len(first) != 1:
        return None
    prefix = first.pop() + "."
    longer = {prefix + key: value for key, value in state.items()}
    return longer if needed <= longer.keys() else None


def _by_position(expected: State, state: State, path: Path) -> State | None:
    """The tensors in the file's order under the network's names, where every shape agrees.

    Only for names that are others' altogether: of two networks that share most names one is not
    the other.
    """
    ours = [key for key in expected if key in _needed(expected)]
    theirs = [key for key in state if key in _needed(state)]
    strangers = not any(key in state for key in ours)
    if not strangers or [expected[k].shape for k in ours] != [state[k].shape for k in theirs]:
        return None
    remark(
        f"{path}: none of its names is the network's: its {len(theirs)} tensors are taken in their "
        f"order, in which all shapes agree ({theirs[0]} as {ours[0]}, ..., {theirs[-1]} as "
        f"{ours[-1]})"
    )
    return {our: state[their] for our, their in zip(ours, theirs, strict=True)}


def _check(expected: dict[str, Tensor], state: State, path: Path) -> None:
    missing = [k for k in expected if k not in state and k in _needed(expected)]
    unexpected = sorted(k for k in state if k not in expected)
    if not missing:
        # A network without counters takes a file that has them.
        unexpected = sorted(_needed(unexpected))
    shapes = [
        f"{k} (expected {list(expected[k].shape)}, got {list(state[k].shape)})"
        for k in expected
        if k in state and expected[k].shape != state[k].shape
    ]
    findings = [("missing keys", missing), ("unexpected keys", unexpected), ("shapes", shapes)]
    problems = [f"{len(items)} {what}: {some(items)}" for what, items in findings if items]
    if problems:
        raise CheckpointError(f"{path} does not fit the network: " + "; ".join(problems))

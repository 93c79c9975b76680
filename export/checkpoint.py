"""Loads a network of the registry with weights from a file, without ever running a pickle."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from export.models import find_model
from runtime.core.errors import ShiftAddError, reason

SEED = 0
"""Of the fresh weights of a network that has no trained ones: two exports give the same file."""

_NESTS = ("state_dict", "model")
_SHOWN = 5

# What NumPy's scalars ("best_prec1" and the like) are pickled with; NumPy 1 had other module names.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS: list[Any] = [
    np.dtype,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
]


class CheckpointError(ShiftAddError):
    """A checkpoint that cannot be read, or that does not fit the network; one line."""


def load_model(name: str, checkpoint: Path | None = None) -> tuple[nn.Module, str]:
    """The network `name` in eval mode, and the SHA-256 (hex) of the file its weights are from.

    The weights are those of `checkpoint` (.safetensors, or what torch.save wrote, read without
    running it), else the shipped ones. Where none are shipped they are fresh, drawn from a fixed
    seed, and the hash is "".

    Raises KeyError for an unknown name, with the known ones, and CheckpointError.
    """
    spec = find_model(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = spec.build().eval()
    path = checkpoint or spec.weights
    if checkpoint is None and (path is None or not path.is_file()):
        return model, ""
    assert path is not None
    content = _read(path)
    _fit(model, _state_dict(content, path), path)
    return model, hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {reason(error)}") from error


def _state_dict(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load(content)
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    # Foreign bytes make the readers raise nearly everything, from EOFError to AttributeError.
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a readable checkpoint, or a truncated one "
            f"({type(error).__name__}; .safetensors and torch.save files are read)"
        ) from error
    return _unwrap(loaded, path)


def _unwrap(loaded: Any, path: Path) -> dict[str, Tensor]:
    for nest in _NESTS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(nest), Mapping):
            loaded = loaded[nest]
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(f"{path}: holds no state_dict but {type(loaded).__name__}")
    strangers = [str(k) for k, v in loaded.items() if not isinstance(v, Tensor)]
    if strangers:
        raise CheckpointError(f"{path}: entries that are no tensors: {_some(strangers)}")
    prefixed = all(str(key).startswith("module.") for key in loaded)
    return {str(k).removeprefix("module.") if prefixed else str(k): v for k, v in loaded.items()}


def _fit(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Loads `state`, or says which keys and shapes do not fit."""
    expected = model.state_dict()
    # A count of training steps, which an exported network does not need.
    missing = [k for k in expected if k not in state and not k.endswith(".num_batches_tracked")]
    unexpected = sorted(k for k in state if k not in expected)
    shapes = [
        f"{k} (expected {list(expected[k].shape)}, got {list(state[k].shape)})"
        for k in expected
        if k in state and expected[k].shape != state[k].shape
    ]
    findings = [("missing keys", missing), ("unexpected keys", unexpected), ("shapes", shapes)]
    problems = [f"{len(items)} {what}: {_some(items)}" for what, items in findings if items]
    if problems:
        raise CheckpointError(f"{path} does not fit the network: " + "; ".join(problems))
    infinite = [k for k, v in state.items() if not torch.isfinite(v).all()]
    if infinite:
        raise CheckpointError(f"{path}: values that are not finite in {_some(infinite)}")
    model.load_state_dict(state, strict=False)


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more

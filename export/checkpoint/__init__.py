"""Loads a network with weights from a file, without ever running a pickle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from export.checkpoint.carried import carried_spec, spec_metadata
from export.checkpoint.content import read_state
from export.checkpoint.errors import CheckpointError
from export.checkpoint.fit import fit
from export.models import find_model
from runtime.core.errors import reason

if TYPE_CHECKING:
    from export.loading.resolve import Source
    from export.models import ModelSpec

__all__ = [
    "SEED",
    "CheckpointError",
    "carried_spec",
    "load_model",
    "load_network",
    "spec_metadata",
]

SEED = 0
"""Of the fresh weights of a network that has no trained ones: two exports give the same file."""


def load_model(name: str, checkpoint: Path | None = None) -> tuple[nn.Module, str]:
    """The network `name` of the registry, as `load_network` gives it.

    Raises KeyError for an unknown name, with the known ones, and CheckpointError.
    """
    return load_network(find_model(name), checkpoint)


def load_network(
    source: ModelSpec | Source, checkpoint: Path | None = None
) -> tuple[nn.Module, str]:
    """The network in eval mode, and the SHA-256 (hex) of the file its weights are from.

    The weights are those of `checkpoint` (.safetensors, or what torch.save wrote, read without
    running it), else the shipped ones. Where none are shipped they are those that the network is
    made with, drawn from a fixed seed, and the hash is "".

    Raises CheckpointError, and SourceError for a network that cannot be made.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = source.build().eval()
    path = checkpoint or source.weights
    if checkpoint is None and (path is None or not path.is_file()):
        return model, ""
    assert path is not None
    content = _read(path)
    fit(model, read_state(content, path), path)
    return model, hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise CheckpointError(f"{path}: cannot read the checkpoint: not a regular file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {reason(error)}") from error

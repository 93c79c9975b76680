"""What a file of weights says of its network beside them: training writes it, export takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors

from export import labels
from export.checkpoint.errors import CheckpointError
from export.spec import SpecLike

_KEY = "shiftadd.spec"
_ENTRIES = ("input_size", "mean", "std", "resize", "labels")


def spec_metadata(spec: SpecLike) -> dict[str, str]:
    """The metadata of a .safetensors file by which it carries `spec`; its name is not in it."""
    entries = {name: getattr(spec, name) for name in _ENTRIES}
    if entries["labels"] == labels.generic(len(entries["labels"] or ())):
        del entries["labels"]
    return {_KEY: json.dumps(entries)}


def carried_spec(path: Path) -> dict[str, Any]:
    """The entries of a spec that a file of weights carries, by name; none where it carries none.

    What they hold is as untrusted as the file is: `export.spec.complete` checks it.

    Raises CheckpointError where they cannot be read.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    # A checkpoint in another form, or none at all, which is refused where its weights are read.
    except (safetensors.SafetensorError, OSError):
        return {}
    try:
        entries = json.loads(text) if text is not None else {}
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata {_KEY} is not JSON") from error
    if not isinstance(entries, dict):
        raise CheckpointError(f"{path}: its metadata {_KEY} is not a JSON object")
    return {name: entries[name] for name in _ENTRIES if entries.get(name) is not None}

"""Writes a model file: all of it or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from runtime.errors import ShiftAddError, reason


def write_model(model: onnx.ModelProto, path: Path) -> int:
    """Writes the model aside and moves it into place; returns its size in bytes.

    The same model gives the same bytes. Missing folders are made. Raises ShiftAddError, in one
    line, where the file cannot be written; an older one is then left as it was.
    """
    content = model.SerializeToString(deterministic=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(content)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise ShiftAddError(f"{path}: cannot write the model: {reason(error)}") from error
    return len(content)

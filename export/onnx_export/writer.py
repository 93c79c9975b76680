"""Writes a model file: all of it or nothing."""

from __future__ import annotations

from pathlib import Path

import onnx

from runtime.core.files import replace


def write_model(model: onnx.ModelProto, path: Path) -> int:
    """Writes the model aside and moves it into place; returns its size in bytes.

    The same model gives the same bytes. Missing folders are made. Raises ShiftAddError, in one
    line, where the file cannot be written; an older one is then left as it was.
    """
    content = model.SerializeToString(deterministic=True)
    replace(path, content, "model")
    return len(content)


def save(model: onnx.ModelProto, path: str | Path) -> int:
    """Writes what `export_model` gave to `path`, all of it or nothing; its size in bytes.

    Missing folders are made. Raises ShiftAddError, in one line, where it cannot be written.
    """
    return write_model(model, Path(path))

"""An ONNX file as it lies on the disk, with the weights that may lie beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from runtime.core.errors import ModelError, reason
from runtime.core.files import open_regular


@dataclass(frozen=True)
class OnnxFile:
    """A model that was read.

    Attributes:
        model: the graph; all weights are in it.
        content: the bytes of such a file, which are the file's own unless weights lay beside it.
        external: whether weights did.
    """

    model: onnx.ModelProto
    content: bytes
    external: bool

    @property
    def sha256(self) -> str:
        """The SHA-256 of `content`, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def read(path: Path) -> OnnxFile:
    """The ONNX file at `path`. Raises ModelError where it, or its external data, is not whole."""
    try:
        with open_regular(path) as file:
            content = file.read()
        model = onnx.load_from_string(content)
    except OSError as error:
        raise ModelError(f"cannot read the model: {reason(error)}") from error
    except DecodeError as error:
        raise ModelError("not an ONNX model, or a damaged one") from error
    if not any(map(uses_external_data, model.graph.initializer)):
        return OnnxFile(model, content, external=False)
    try:
        load_external_data_for_model(model, str(path.parent))
    # A file that is missing, too short, or named outside of the folder raises types of onnx's own.
    except Exception as error:
        raise ModelError(
            f"cannot read the weights that lie in another file: {reason(error)}"
        ) from error
    return OnnxFile(model, model.SerializeToString(), external=True)

"""A model's file, and the check that two files belong to the same network."""

from __future__ import annotations

from pathlib import Path

from calibration import onnx_file
from runtime.core.errors import ModelError
from runtime.core.metadata import Metadata, parse
from runtime.core.onnx_header import read_metadata


class ModelFile:
    """An ONNX file with our metadata. Raises ModelError, naming it, where it is none.

    `model`, `content`, `sha256` and `external` are those of `onnx_file.OnnxFile`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.metadata: Metadata = parse(read_metadata(str(path)))
            file = onnx_file.read(path)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        self.model, self.content, self.sha256 = file.model, file.content, file.sha256
        self.external = file.external


def check_origin(float_file: ModelFile, integer_file: ModelFile) -> None:
    """Refuses to compare two models of different networks, of which every layer would differ."""
    ours, theirs = integer_file.metadata, float_file.metadata
    if ours.model != theirs.model:
        raise ModelError(
            f"{integer_file.path}: is of the model {ours.model}, {float_file.path} of "
            f"{theirs.model}: name the two files of one model"
        )
    if ours.checkpoint_sha256 != theirs.checkpoint_sha256:
        raise ModelError(
            f"{integer_file.path}: is of other weights than {float_file.path} (SHA-256 "
            f"{ours.checkpoint_sha256[:12] or 'none'} and {theirs.checkpoint_sha256[:12] or 'none'}"
            "): write it again with `make calibrate`"
        )

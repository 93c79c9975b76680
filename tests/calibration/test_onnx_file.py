"""Models whose weights lie in another file, and models that are not whole."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration import onnx_file
from calibration.model_file import ModelFile
from export.validation.exported import ExportedModel
from runtime.core.errors import ModelError
from tests.support.models.runtime import SIZE, linear


def external(path: Path, rng: np.random.Generator) -> tuple[Path, onnx.ModelProto]:
    """The model at `path` with its weights beside it in m.data, and the whole model."""
    whole = onnx.load(linear(path, rng)[0])
    split = onnx.ModelProto()
    split.CopyFrom(whole)
    onnx.save_model(split, path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert (path.parent / "m.data").stat().st_size > 0
    return path, whole


def test_weights_in_another_file_are_taken(tmp_path: Path, rng: np.random.Generator) -> None:
    path, whole = external(tmp_path / "m.onnx", rng)
    file = onnx_file.read(path)
    assert file.external
    for found, expected in zip(file.model.graph.initializer, whole.graph.initializer, strict=True):
        assert found.raw_data == expected.raw_data
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(file.content)
    again = onnx_file.read(alone)
    assert (again.content, again.external) == (file.content, False)
    assert ModelFile(path).sha256 == ModelFile(alone).sha256 == file.sha256


def test_the_comparison_takes_them_too(tmp_path: Path, rng: np.random.Generator) -> None:
    path, whole = external(tmp_path / "m.onnx", rng)
    alone = tmp_path / "alone.onnx"
    onnx.save(whole, alone)
    x = rng.normal(size=(2, *SIZE)).astype(np.float32)
    split, together = ExportedModel(path), ExportedModel(alone)
    assert np.array_equal(split.run(x), together.run(x))


@pytest.mark.parametrize("trouble", ["missing", "short", "outside", "a pipe"])
def test_weights_that_are_not_there_are_told_in_a_line(
    tmp_path: Path, rng: np.random.Generator, trouble: str
) -> None:
    (tmp_path / "models").mkdir()
    path, _ = external(tmp_path / "models" / "m.onnx", rng)
    data = path.parent / "m.data"
    content = data.read_bytes()
    data.unlink()
    if trouble == "short":
        data.write_bytes(content[:-4])
    elif trouble == "outside":
        (tmp_path / "m.data").write_bytes(content)
        path.write_bytes(path.read_bytes().replace(b"\x06m.data", b"\x06../m.d"))
        (tmp_path / "m.d").write_bytes(content)
    elif trouble == "a pipe":
        os.mkfifo(data)
    with pytest.raises(ModelError) as caught:
        ModelFile(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot read the weights that lie in another file: ")
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07\x3a\x7f"])
def test_what_is_no_model_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError):
        ModelFile(tmp_path / "m.onnx")

"""Models whose weights lie in another file."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

import runtime
from runtime.core.errors import ModelError
from tests.support.models.runtime import SIZE, linear


def split(folder: Path, rng: np.random.Generator, location: str) -> Path:
    """The linear model with its weights in w.bin beside it, by the name `location`."""
    folder.mkdir()
    model = onnx.load(str(linear(folder / "whole.onnx", rng)[0]))
    weights = b""
    for tensor in model.graph.initializer:
        if not tensor.raw_data:
            continue
        entries = {"location": location, "offset": len(weights), "length": len(tensor.raw_data)}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        weights += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
    assert weights
    (folder / "w.bin").write_bytes(weights)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def test_weights_beside_the_model_are_taken(tmp_path: Path, rng: np.random.Generator) -> None:
    path = split(tmp_path / "m", rng, "w.bin")
    x = rng.normal(size=(2, *SIZE)).astype(np.float32)
    expected = runtime.load(tmp_path / "m" / "whole.onnx").run(x)
    assert np.array_equal(runtime.load(path).run(x), expected)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("../w.bin", "outside of the model's folder"),
        ("/tmp/w.bin", "outside of the model's folder"),
        ("a/../../w.bin", "outside of the model's folder"),
        ("none.bin", "which is missing: copy it beside the model"),
        ("pipe", "which is not a regular file"),
        ("folder", "which is not a regular file"),
    ],
)
def test_weights_that_are_not_there_are_told_in_a_line(
    tmp_path: Path, rng: np.random.Generator, location: str, why: str
) -> None:
    path = split(tmp_path / "m", rng, location)
    (tmp_path / "w.bin").write_bytes((tmp_path / "m" / "w.bin").read_bytes())
    os.mkfifo(str(tmp_path / "m" / "pipe"))
    (tmp_path / "m" / "folder").mkdir()
    with pytest.raises(ModelError) as caught:
        runtime.load(path)
    assert str(caught.value) == "{}: its weights lie in {}, {}".format(path, location, why)

"""The sidecar of an engine: what it says, and what is refused by it."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from runtime.core.errors import ModelError
from runtime.engines.tensorrt import engine_file
from runtime.engines.tensorrt.engine_file import Sidecar
from tests.support.models.runtime import metadata

CONTENT = b"an engine"
SIDECAR = Sidecar(
    format_version=1,
    tensorrt_version="8.2.1.8",
    gpu="NVIDIA Tegra X1",
    compute_capability="5.3",
    precision="fp16",
    max_batch=8,
    onnx_file="build/models/small net.onnx",
    onnx_sha256="a" * 64,
    engine_sha256=hashlib.sha256(CONTENT).hexdigest(),
    library_sha256="",
    metadata=metadata(),
)
REBUILD = (
    "build it again on this machine with `make engine MODEL=small PRECISION=fp16`, or "
    "`python3 runtime/build_engine.py 'build/models/small net.onnx' --precision fp16 "
    "--max-batch 8 --output {}`"
)


@pytest.fixture
def engine(tmp_path: Path) -> str:
    path = tmp_path / "m.engine"
    path.write_bytes(CONTENT)
    engine_file.write(str(path), SIDECAR)
    return str(path)


def test_what_is_written_is_read(engine: str) -> None:
    sidecar = engine_file.read(engine)
    assert sidecar == SIDECAR
    engine_file.check_content(engine, CONTENT, sidecar)
    engine_file.check_machine(engine, sidecar, "8.2.1.8", "NVIDIA Tegra X1", "5.3")
    assert {path.name for path in Path(engine).parent.iterdir()} == {"m.engine", "m.engine.json"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("m.engine", True), ("M.PLAN", True), ("m.onnx", False), ("engine", False), ("m", False)],
)
def test_the_name_tells_an_engine(name: str, expected: bool) -> None:
    assert engine_file.is_engine(name) is expected


def refused(engine: str) -> str:
    with pytest.raises(ModelError) as caught:
        engine_file.read(engine)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{engine}.json" in message
    assert "python3 runtime/build_engine.py MODEL.onnx" in message
    return message


def test_a_sidecar_is_a_regular_file(engine: str) -> None:
    Path(engine + ".json").unlink()
    os.mkfifo(engine + ".json")
    with pytest.raises(ModelError, match="not a regular file"):
        engine_file.read(engine)


def test_a_missing_sidecar_is_told(engine: str) -> None:
    Path(engine + ".json").unlink()
    assert "is missing" in refused(engine)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b'{"format_version": 1', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "has format version null, this runtime reads version 1"),
        (b'{"format_version": 2}', "has format version 2, this runtime reads version 1"),
        (b'{"format_version": 1}', "the entry tensorrt_version is missing"),
    ],
)
def test_a_damaged_sidecar_is_told(engine: str, content: bytes, words: str) -> None:
    Path(engine + ".json").write_bytes(content)
    assert words in refused(engine)


@pytest.mark.parametrize("name", Sidecar._fields[1:])
@pytest.mark.parametrize("value", [None, [1], -1, {"a": 1}])
def test_an_entry_that_does_not_fit_is_named(engine: str, name: str, value: Any) -> None:
    entries = dict(SIDECAR._asdict(), **{name: value})
    Path(engine + ".json").write_text(json.dumps(entries))
    assert f"the entry {name} is {json.dumps(value)}" in refused(engine)


def test_another_engine_is_told_with_both_hashes(engine: str) -> None:
    with pytest.raises(ModelError) as caught:
        engine_file.check_content(engine, CONTENT[:-1], SIDECAR)
    for part in (
        hashlib.sha256(CONTENT[:-1]).hexdigest()[:12],
        SIDECAR.engine_sha256[:12],
        REBUILD.format(engine),
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("version", "gpu", "capability", "words"),
    [
        ("8.2.1.9", "NVIDIA Tegra X1", "5.3", "with TensorRT 8.2.1.8, here is 8.2.1.9: "),
        (
            "8.2.1.8", "Xavier", "7.2",
            "on the GPU NVIDIA Tegra X1 of compute capability 5.3, here is Xavier of compute "
            "capability 7.2: ",
        ),
        ("8.2.1.8", "NVIDIA Tegra X1", "7.2", "capability 5.3, here is NVIDIA Tegra X1 of compute"),
    ],
)  # fmt: skip
def test_another_machine_is_told_with_both_values(
    engine: str, version: str, gpu: str, capability: str, words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        engine_file.check_machine(engine, SIDECAR, version, gpu, capability)
    assert words in str(caught.value)
    assert str(caught.value).endswith(REBUILD.format(engine))

"""TensorRT sessions on stand-ins for TensorRT and PyCUDA (see tensorrt_standin.py for their worth).

Whatever a stand-in is misused in on the way fails the test: see runtime_standins.in_this_process.
"""

import gc
import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import numpy as np
import pytest
from onnx import helper

import runtime
from runtime.core.errors import ModelError
from runtime.core.onnx_header import read_metadata
from runtime.engines.tensorrt import engine_file
from tests.support.models.runtime import (
    LABELS,
    SIZE,
    constant,
    linear,
    metadata,
    photo,
    save,
    several,
    shift,
)
from tests.support.standins import modules as runtime_standins
from tests.support.standins.modules import DESKTOP, VERSIONS, module

Build = Callable[..., Path]


@pytest.fixture(params=[(v, gpu) for v in VERSIONS for gpu in ("Tegra", "desktop")])
def standins(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, operator_library: Path
) -> Iterator[Any]:
    """TensorRT in both shapes, on memory that the GPU shares and on memory of its own."""
    version, gpu = request.param
    entries = DESKTOP if gpu == "desktop" else None
    with runtime_standins.in_this_process(
        monkeypatch, version, operator_library, entries
    ) as modules:
        yield modules


@pytest.fixture
def build(standins: Any, tmp_path: Path) -> Build:
    """Builds an engine and its sidecar from an ONNX file."""
    tensorrt, cuda = standins

    def build(model: Path, max_batch: int = 3, precision: str = "fp32") -> Path:
        builders = module("builder")
        gpu = module("gpu").Gpu()
        with gpu.current():
            builder = builders.EngineBuilder(gpu)
            settings = builders.Settings(precision, 64, max_batch)
            built = builder.build(model.read_bytes(), settings)
            builder.release()
        gpu.release()
        path = tmp_path / "m.engine"
        path.write_bytes(built.engine)
        sidecar = engine_file.Sidecar(
            format_version=1,
            tensorrt_version=tensorrt.VERSION,
            gpu=cuda.GPU["name"],
            compute_capability="{}.{}".format(*cuda.GPU["compute_capability"]),
            precision=precision,
            max_batch=max_batch,
            onnx_file=str(model),
            onnx_sha256="",
            engine_sha256=hashlib.sha256(built.engine).hexdigest(),
            library_sha256="",
            metadata=read_metadata(str(model)),
        )
        engine_file.write(str(path), sidecar)
        return path

    return build


def refusal(path: Path, library: Optional[Path] = None) -> str:
    with pytest.raises(ModelError) as caught:
        runtime.load(path, None if library is None else str(library))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_batches_of_any_size_are_run_in_pieces(
    build: Build, standins: Any, tmp_path: Path, rng: np.random.Generator, count: int
) -> None:
    tensorrt, _ = standins
    model, weight = linear(tmp_path / "m.onnx", rng)
    batch = rng.normal(size=(count, *SIZE)).astype(np.float32)
    expected = batch.astype(float).mean(axis=(2, 3)) @ weight.astype(float).T
    with runtime.load(build(model)) as session:
        del tensorrt.executed[:]
        logits = session.run(batch)
    assert tensorrt.executed == [3] * (count // 3) + [count % 3] * (count % 3 > 0)
    assert logits.dtype == np.float32
    assert logits.shape == (count, len(LABELS))
    assert np.linalg.norm(logits - expected) <= 2e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_arrays_by_name_give_outputs_by_name(
    build: Build, tmp_path: Path, rng: np.random.Generator, count: int
) -> None:
    model, weight = several(tmp_path / "m.onnx", rng)
    signal = rng.normal(size=(count, 2, 9)).astype(np.float32)
    features = rng.normal(size=(count, 5)).astype(np.float32)
    with runtime.load(build(model)) as session:
        outputs = session.run({"features": features, "signal": signal})
        with pytest.raises(ModelError, match="no array for 'signal'"):
            session.run({"features": features})
    expected = signal.astype(float).mean(2) @ weight.astype(float).T + features
    assert set(outputs) == {"both", "twice"}
    assert np.linalg.norm(outputs["both"] - expected) <= 2e-6 * np.linalg.norm(expected)
    assert np.array_equal(outputs["twice"], 2 * signal)


def test_a_result_is_not_touched_by_the_next_run(
    build: Build, tmp_path: Path, rng: np.random.Generator
) -> None:
    with runtime.load(build(linear(tmp_path / "m.onnx", rng)[0])) as session:
        first = session.run(rng.normal(size=(2, *SIZE)).astype(np.float32))
        kept = first.copy()
        session.run(rng.normal(size=(2, *SIZE)).astype(np.float32))
    assert np.array_equal(first, kept)


def test_any_memory_layout_is_taken(build: Build, tmp_path: Path, rng: np.random.Generator) -> None:
    batch = rng.normal(size=(4, *SIZE)).astype(np.float32)
    with runtime.load(build(linear(tmp_path / "m.onnx", rng)[0])) as session:
        expected = session.run(batch)
        assert np.array_equal(session.run(np.asfortranarray(batch)), expected)
        assert np.array_equal(session.run(batch.astype(np.float64)), expected)


def test_threads_take_turns(build: Build, tmp_path: Path, rng: np.random.Generator) -> None:
    batches = [rng.normal(size=(1 + i % 5, *SIZE)).astype(np.float32) for i in range(40)]
    with runtime.load(build(linear(tmp_path / "m.onnx", rng)[0])) as session:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(session.run, batches))
        for batch, logits in zip(batches, together):
            assert np.array_equal(logits, session.run(batch))


def test_a_session_may_end_in_another_thread(
    build: Build, tmp_path: Path, rng: np.random.Generator
) -> None:
    session = runtime.load(build(linear(tmp_path / "m.onnx", rng)[0]))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(session.close).result()
    session.close()
    with pytest.raises(ModelError, match="session is closed"):
        session.run(np.zeros((1, *SIZE), np.float32))


def test_a_session_that_nobody_closes_ends_with_its_last_reference(
    build: Build, standins: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    _, cuda = standins
    session = runtime.load(build(linear(tmp_path / "m.onnx", rng)[0]))
    assert cuda.leftovers()
    del session
    gc.collect()
    assert not cuda.leftovers()


def test_two_sessions_at_a_time(build: Build, tmp_path: Path, rng: np.random.Generator) -> None:
    path = build(linear(tmp_path / "m.onnx", rng)[0])
    batch = rng.normal(size=(2, *SIZE)).astype(np.float32)
    with runtime.load(path) as first, runtime.load(path) as second:
        expected = first.run(batch)
        assert np.array_equal(second.run(batch), expected)
        first.close()
        assert np.array_equal(second.run(batch), expected)


def test_classify(build: Build, tmp_path: Path, rng: np.random.Generator) -> None:
    logits = rng.normal(size=len(LABELS)).astype(np.float32)
    with runtime.load(build(constant(tmp_path / "m.onnx", list(logits)))) as session:
        (row,) = session.classify([photo(rng)], 3)
    assert [found.class_index for found in row] == list(np.argsort(-logits)[:3])


def test_plugins_are_loaded(
    build: Build, tmp_path: Path, rng: np.random.Generator, operator_library: Path,
    standins: Any,
) -> None:  # fmt: skip
    tensorrt, _ = standins
    library = runtime_standins.plugin_library(tmp_path, operator_library)
    model, weight = shift(tmp_path / "m.onnx", rng)
    gpu = module("gpu").Gpu()
    with gpu.current():
        tensorrt.Runtime(module("api").LOGGER)
        load_plugins = module("api").load_plugins
        assert load_plugins(["ShiftConv"], str(library)) == str(library)
        # Loading them twice would be complained of, too.
        assert load_plugins(["AdderConv"], str(library)) == str(library)
        with pytest.raises(ModelError, match="no plugin for QLinearShiftConv: it computes"):
            load_plugins(["QLinearShiftConv"], str(library))
    gpu.release()
    batch = rng.normal(size=(4, *SIZE)).astype(np.float32)
    expected = batch.astype(float).mean(axis=(2, 3)) @ weight.T
    bound = np.abs(batch).astype(float).mean(axis=(2, 3)) @ np.abs(weight).T
    with runtime.load(build(model), str(library)) as session:
        assert np.linalg.norm(session.run(batch) - expected) <= 2e-6 * np.linalg.norm(bound)


def test_an_engine_without_operators_needs_no_library(
    build: Build, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.core import places

    monkeypatch.setattr(places, "ROOT", str(tmp_path))
    with runtime.load(build(linear(tmp_path / "m.onnx", rng)[0])) as session:
        assert session.metadata.operators == ()


def test_a_library_that_is_none_is_refused(
    build: Build, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = build(linear(tmp_path / "m.onnx", rng)[0])
    other = tmp_path / "other.so"
    assert f"no plugin library at {other} (from --library)" in refusal(path, other)
    other.write_bytes(b"no library")
    assert f"cannot load the plugin library {other}: it is no native library" in refusal(
        path, other
    )
    # A header without the rest of its file.
    other.write_bytes(Path(sys.executable).read_bytes()[:64])
    message = refusal(path, other)
    assert f"cannot load the plugin library {other}: " in message
    assert "it is no native library" not in message, "the loader says what is wrong with it"


def test_what_tensorrt_refuses_to_read_is_told_with_its_reason(
    build: Build, tmp_path: Path, rng: np.random.Generator
) -> None:
    """An engine whose hash is right, so that only TensorRT can find the damage."""
    path = build(linear(tmp_path / "m.onnx", rng)[0])
    damaged = path.read_bytes()[:-1] + b"?"
    path.write_bytes(damaged)
    sidecar = engine_file.read(str(path))
    digest = hashlib.sha256(damaged).hexdigest()
    engine_file.write(str(path), sidecar._replace(engine_sha256=digest))
    message = refusal(path)
    assert "TensorRT cannot read the engine: 1: [runtime.cpp] Serialization assertion" in message


def test_other_tensor_names_are_refused(
    build: Build, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, _ = linear(tmp_path / "m.onnx", rng)
    model.write_bytes(model.read_bytes().replace(b"logits", b"scores"))
    assert "'logits' with classes is expected" in refusal(build(model))


def test_labels_that_do_not_fit_are_refused_at_load(
    build: Build, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, _ = linear(tmp_path / "m.onnx", rng, metadata(labels='["cat", "dog"]'))
    assert "2 labels" in refusal(build(model))


def test_an_output_without_a_batch_is_refused(build: Build, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Add", ["mean", "zeros"], ["logits"]),
    ]
    weights = {"zeros": np.zeros((1, len(LABELS)), np.float32)}
    message = refusal(build(save(tmp_path / "m.onnx", nodes, weights, metadata())))
    assert "the tensor logits has shape [1, 7] for 3 images" in message


def test_an_output_that_is_not_finite_is_refused_at_load(build: Build, tmp_path: Path) -> None:
    model = constant(tmp_path / "m.onnx", [0, 0, np.nan, 0, 0, 0, 0])
    assert "not finite" in refusal(build(model))


def test_a_gpu_without_memory_is_told(
    build: Build, standins: Any, tmp_path: Path, rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _, cuda = standins
    path = build(linear(tmp_path / "m.onnx", rng)[0])
    monkeypatch.setitem(cuda.GPU, "memory", 1000)
    size = 4 * 3 * int(np.prod(SIZE))
    assert f"no memory for {size} bytes on the GPU: cuMemAlloc failed" in refusal(path)


def test_a_machine_without_a_gpu_is_told(
    build: Build, standins: Any, tmp_path: Path, rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _, cuda = standins
    path = build(linear(tmp_path / "m.onnx", rng)[0])
    monkeypatch.setitem(cuda.GPU, "name", None)
    assert "no usable GPU: cuInit failed: no CUDA-capable device" in refusal(path)


def test_an_execution_that_fails_is_one_line_and_the_next_one_runs(
    build: Build, standins: Any, tmp_path: Path, rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tensorrt, _ = standins
    batch = rng.normal(size=(2, *SIZE)).astype(np.float32)

    def refuse(*_: object) -> bool:
        tensorrt._say("ERROR", "1: [context.cpp]\nCuda failure")
        return False

    with runtime.load(build(linear(tmp_path / "m.onnx", rng)[0])) as session:
        expected = session.run(batch)
        with monkeypatch.context() as patch:
            patch.setattr(tensorrt.ExecutionContext, "start", refuse)
            words = r"^TensorRT cannot run the engine: 1: \[context.cpp\] Cuda failure$"
            with pytest.raises(ModelError, match=words):
                session.run(batch)
        assert np.array_equal(session.run(batch), expected)


def test_fp32_is_not_computed_in_tf32(
    build: Build, standins: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    tensorrt, _ = standins
    facts, _ = tensorrt._unpack(build(linear(tmp_path / "m.onnx", rng)[0]).read_bytes())
    assert facts["precision"] == "fp32"
    assert facts["flags"] == []
    assert facts["shapes"]["input"] == [[1, *SIZE], [1, *SIZE], [3, *SIZE]]
